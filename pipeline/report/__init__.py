"""One self-contained HTML page about a run.

In: a run folder, and an evaluation if there is one. Out: `report.html`.
Open `command.py` first; `content.py` gathers what the page shows, one module for each section,
`page.py` renders it with `templates/`.
"""

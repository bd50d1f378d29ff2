"""One self-contained HTML page about a run.

In: a run folder, and an evaluation if there is one. Out: `report.html`.
Open `command.py` first.
"""

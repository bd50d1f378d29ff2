"""What is in videos, caches, runs and judgements, and whether they are whole.

In: any path that this program reads or writes. Out: reports as text or JSON, or a picture of flow.
`kinds.py` recognises a path; one file for each kind makes its report (`report.py`).
Open `command.py` first.
"""

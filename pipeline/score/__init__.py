"""New videos scored by a trained run, or by several, both earlier stages included.

In: run folders and videos. Out: `scores.csv` and `scores.json`; flow and features in a cache.
`settings.py` derives the stages' settings from a run, `features.py` finds or computes features,
`members.py` scores them, `scores.py` and `ranking.py` say what a score means, `output.py` writes.
Open `command.py` first.
"""

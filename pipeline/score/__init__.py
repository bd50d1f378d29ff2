"""New videos scored by a trained run, both stages included.

In: a run folder, or several, and videos. Out: `scores.csv`.
Open `command.py` first.
"""

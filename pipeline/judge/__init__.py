"""A page on which an expert compares videos side by side, in few comparisons.

In: videos, and a run where its least certain pairs are asked for. Out: a folder with one
`index.html` and small copies of the videos; the page gives back `pairs.csv`.
Open `command.py` first; `templates/schedule.js` decides which pair comes next.
"""

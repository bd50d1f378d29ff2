"""Everything end to end on a synthetic set whose skill is known.

In: nothing. Out: a folder with videos, caches, a run, tables, attention sheets and a page.
Open `command.py` first: it calls the stages in order. `options.py` has the sizes, `summary.py`
the printed text.
"""

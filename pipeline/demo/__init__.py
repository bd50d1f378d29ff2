"""Everything end to end on a synthetic set.

In: nothing. Out: a folder with videos, caches, a run, tables and a page.
Open `command.py` first.
"""

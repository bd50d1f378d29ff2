"""Judgements "A is better than B": read, checked, and split into folds.

In: a table or a published data set. Out: a `Dataset` of pairs, folds and scores.
Open `reading.py` first; each published format is a module of `formats/`.
"""

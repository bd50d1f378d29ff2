"""Synthetic pick-and-place videos whose skill is known: for the demo, tests and benchmarks.

In: options and a seed. Out: a folder of mp4 files with tables of pairs, boxes and skills.
Open `plan.py` first, for what a set consists of, then `writer.py`.
"""

"""HDF5 caches: one file a video, written whole or not at all, never silently stale.

In: headers and arrays. Out: files that other programs can read (README, "Caches").
Open `header.py` first, for what a cache says of itself, then `folder.py`.
"""

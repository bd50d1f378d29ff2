"""Features of other extractors: arrays in files to feature caches, without the videos.

In: `.npy`, `.npz` or HDF5 files, one a video, with a rate or time stamps. Out: one feature cache a
video, as extract-features writes them. `arrays.py` opens files and checks what they claim,
`timing.py` says when each feature was, `plan.py` compares files, `video.py` writes one cache.
Open `command.py` first.
"""

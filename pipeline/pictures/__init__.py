"""Pictures from arrays: attention over frames, flow, contact sheets, films and curves.

In: frames and arrays. Out: matplotlib figures and mp4 files. Nothing here knows runs or caches.
`flow.png` makes a file's content of a figure. Open `attention.py` first.
"""

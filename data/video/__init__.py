"""Reading videos and frame folders, once and in order.

In: a path. Out: `VideoInfo` of a scan, and the frames asked for, BGR as OpenCV gives them.
No other room opens a video. Open `reading.py` first.
"""

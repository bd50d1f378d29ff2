"""Reading videos and frame folders, once and in order.

In: a path. Out: `VideoInfo` of a scan, and the requested frames, BGR as OpenCV gives them; for
forecasts, what headers claim. No other room opens a video. Open `reading.py` first.
"""

"""Reading videos and frame folders, once and in order.

In: a path. Out: `VideoInfo` of a scan, and the wanted frames, BGR; for forecasts, what headers
claim. No other room opens a video, and here only `file.py` does. Open `reading.py` first.
"""

"""Stage 1a: videos to TV-L1 flow caches.

In: videos. Out: one flow cache a video.
Open `command.py` first.
"""

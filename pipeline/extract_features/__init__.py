"""Stage 1b: videos and flow caches to feature caches.

In: videos and their flow. Out: one feature cache a video, and `stage_one.safetensors`.
Open `command.py` first.
"""

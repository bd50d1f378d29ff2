"""Where in the frame a trained run looked.

In: a run folder and videos. Out: contact sheets (PNG) and films (mp4).
Open `command.py` first.
"""

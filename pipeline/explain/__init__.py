"""Where in the frame a trained run looked.

In: a run folder and videos. Out: sheets, overlays and numbers.
Open `command.py` first.
"""

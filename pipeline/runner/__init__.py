"""Carrying a stage out over many videos: what is done already, workers, devices, files.

In: videos and a stage. Out: an `Outcome` of results and failures, and an exit code.
Open `stage.py` first.
"""

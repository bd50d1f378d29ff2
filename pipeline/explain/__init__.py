"""Where in the frame a trained run looked, and when.

In: a run folder and videos. Out: contact sheets (PNG) and films (mp4).
`look.py` gathers what there is to show; `pipeline.pictures` draws it.
Open `command.py` first.
"""

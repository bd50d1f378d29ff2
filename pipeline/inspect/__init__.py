"""What is in videos, caches, runs and judgements.

In: any path this program reads or writes. Out: text, JSON or a picture of flow.
Open `command.py` first.
"""

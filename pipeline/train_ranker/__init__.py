"""Stage 2: the ranker trained on cached maps.

In: feature caches and judgements. Out: a run folder.
Open `command.py` first.
"""

"""ConvFusion learnt with a ranker on training pairs, then frozen.

In: caches with stream maps, and judgements. Out: a checkpoint for `extract-features --fusion`.
Open `command.py` first.
"""

"""What training needs and leaves: judgements matched to caches, maps in memory, run folders.

In: feature caches and judgements; run folders. Out: tensors and pairs; a loaded `Run`.
Open `judgements.py` first.
"""

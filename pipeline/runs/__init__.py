"""What training needs and leaves: judgements matched to caches, maps in memory, run folders.

In: feature caches and judgements; run folders. Out: pairs by cache key (`judgements.py`), what is
known of the caches (`features.py`), tensors (`maps.py`), a loaded `Run` (`folder.py`), records for
reports (`record.py`) and the state from which an unfinished training goes on (`state.py`).
Open `judgements.py` first.
"""

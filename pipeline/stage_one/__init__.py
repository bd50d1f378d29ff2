"""The frozen networks of stage one: built, kept in a file, loaded, checked.

In: options and weight files. Out: a `Networks`, and `stage_one.safetensors`.
Open `file.py` first.
"""

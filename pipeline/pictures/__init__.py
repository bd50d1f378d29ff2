"""Pixels from arrays: attention, flow, sheets, films and curves.

In: frames and arrays. Out: pictures and films. This room knows no run and no cache.
Open `attention.py` first.
"""

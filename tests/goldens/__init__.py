"""Goldens: files and tables of an earlier version, against which this one is held."""

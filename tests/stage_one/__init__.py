"""Tests of `stage_one`."""

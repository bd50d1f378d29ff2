"""Tests of `model.ranker`."""

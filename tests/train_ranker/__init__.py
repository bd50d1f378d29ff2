"""Tests of train-ranker, and the material that they share."""

"""Tests of `fit_fusion`."""

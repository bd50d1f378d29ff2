"""Tests of `model.features`."""

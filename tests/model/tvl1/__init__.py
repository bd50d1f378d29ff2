"""Tests of `model.tvl1`."""

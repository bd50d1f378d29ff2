"""Tests of `inspect`."""

"""Tests of `shell`."""

"""Tests of `extract_flow`."""

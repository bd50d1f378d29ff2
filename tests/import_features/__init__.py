"""Tests of import-features."""

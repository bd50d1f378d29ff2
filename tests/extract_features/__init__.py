"""Tests of extract-features, and the material that they share."""

"""Tests of cross-validation, and the material that they share."""

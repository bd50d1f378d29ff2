"""Tests of the page about a run, and the material that they share."""

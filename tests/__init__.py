"""Tests, driven where possible as a user drives the program."""

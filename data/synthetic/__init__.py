"""Synthetic pick-and-place videos whose skill is known: for the demo, tests and benchmarks."""

"""The numba TV-L1 engine: the bits of OpenCV 5 at many times its speed.

In: two grey frames and `TVL1Options`. Out: an (H, W, 2) float32 field.
Open `calc.py` first; it goes down through `solver.py` to `sweep.py`.
"""

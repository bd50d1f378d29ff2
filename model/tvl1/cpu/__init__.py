"""The numba TV-L1 engine: the bits of OpenCV 5 at many times its speed.

In: two grey frames and `TVL1Options`. Out: an (H, W, 2) float32 field.
Open `fused.py` first; it goes down through `level.py` and `solver.py` to `sweep.py`.
"""

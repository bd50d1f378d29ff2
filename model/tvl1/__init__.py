"""TV-L1 optical flow: OpenCV's own engine, and two faster ones that reproduce its results.

In: two grey uint8 frames and `TVL1Options`. Out: an (H, W, 2) float32 field in px.
Open `engines.py` first: it chooses and loads an engine, and names what its results guarantee.
`opencv.py` is the reference; `cpu/` equals it to the bit; `cuda/` stays within the gate.
"""

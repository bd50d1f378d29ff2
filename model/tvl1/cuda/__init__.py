"""The Triton TV-L1 engine: many pairs at a time on an NVIDIA GPU.

In: batches of grey frames. Out: fields within the gate that `model.tvl1.engines` names.
Open `calc.py` first, then `engine.py`; `solve.py` is the kernel.
"""

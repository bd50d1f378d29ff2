"""Stage one's networks: two frozen ResNet101 trunks and the fusion of their maps.

In: RGB frames and flow stacks as uint8 tensors. Out: fused maps (and the two stream maps).
Open `stage_one.py` first; `trunk.py`, `fusion.py` and `pca.py` are its parts. `keys.py` fits
published weights to a trunk; `geometry.py` says where the cells of a map lie in the frame.
"""

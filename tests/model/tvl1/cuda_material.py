"""Frames for the tests of the CUDA engine's kernels; importing it skips where they cannot run.

Without a GPU they need Triton's interpreter, which must be chosen before Triton is imported:
test_cuda_tvl1.py runs those tests in such a process.
"""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
import torch

GPU = torch.cuda.is_available()
if not GPU and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("run by test_kernels_under_the_interpreter", allow_module_level=True)
pytest.importorskip("triton")

needs_opencv5 = pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5,
    reason="OpenCV 4's cubic remap rounds coordinates to 1/32 px, 5's and ours do not",
)
DEVICE = "cuda" if GPU else "cpu"


def on_device(array):
    return torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE)


def texture(height, width, seed):
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)


def view(image, dx, dy, height, width):
    move = np.float32([[1, 0, dx - 8], [0, 1, dy - 8]])
    moved = cv2.warpAffine(image, move, (width, height), flags=cv2.INTER_CUBIC)
    return moved.clip(0, 255).round().astype(np.uint8)


def three_pairs():
    """Return three pairs: moving, not moving, moving little; (3, 20, 34) uint8 twice."""
    height, width = 20, 34
    image = texture(height + 16, width + 16, 1)
    moves = [(0.8, -0.5), (0.0, 0.0), (0.05, 0.02)]
    first = view(image, 0, 0, height, width)
    second = np.stack([view(image, dx, dy, height, width) for dx, dy in moves])
    return np.stack([first] * 3), second

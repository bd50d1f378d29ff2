"""Try whether the numba engine has the bits of the installed OpenCV, on this processor."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from model.tvl1 import opencv
from model.tvl1.cpu import fused


@functools.cache
def agrees() -> bool:
    """Compare both engines on one small pair of frames, with the default parameters.

    It takes a few milliseconds, and the first time on a machine a quarter of a minute more to
    compile. A single pair proves nothing, but a changed order of operations anywhere in
    OpenCV's solver, pyramid, warp or median changes some of its 13,000 bits.
    """
    rng = np.random.default_rng(0)
    height, width = 60, 70
    scene = cv2.GaussianBlur(rng.uniform(0, 255, (height + 9, width + 9)), (0, 0), 1.5)
    scene = 255 * (scene - scene.min()) / np.ptp(scene)
    first = np.rint(scene[4 : 4 + height, 4 : 4 + width]).astype(np.uint8)
    second = scene[3 : 3 + height, 6 : 6 + width] + rng.normal(0, 2, (height, width))
    second = np.clip(np.rint(second), 0, 255).astype(np.uint8)
    ours, theirs = fused.calc(first, second), opencv.calc(first, second)
    return bool(np.array_equal(ours.view(np.uint32), theirs.view(np.uint32)))

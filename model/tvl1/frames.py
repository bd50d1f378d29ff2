"""The check of the two frames that every TV-L1 engine takes, and the pyramid's sizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# OpenCV's rule: a coarser level with a side under this many pixels is not used.
MIN_SIDE = 16


def check_frames(i0: npt.NDArray[np.uint8], i1: npt.NDArray[np.uint8]) -> None:
    """Raise a ValueError unless both frames are grey, 8-bit, of one size and 2 px a side."""
    for name, frame in (("first", i0), ("second", i1)):
        if not isinstance(frame, np.ndarray) or frame.ndim != 2:
            shape = getattr(frame, "shape", type(frame).__name__)
            raise ValueError(f"{name} frame: expected a grey (H, W) array, got {shape}")
        if frame.dtype != np.uint8:
            nan = np.issubdtype(frame.dtype, np.floating) and bool(np.isnan(frame).any())
            kind = f"{frame.dtype} with NaN" if nan else str(frame.dtype)
            raise ValueError(f"{name} frame: expected uint8 grey levels 0 to 255, got {kind}")
        if min(frame.shape) < 2:
            raise ValueError(f"{name} frame: expected at least 2x2 px, got {frame.shape}")
    if i0.shape != i1.shape:
        raise ValueError(f"frames differ in size: {i0.shape} and {i1.shape} (height, width)")


def level_sizes(height: int, width: int, scales: int, scale_step: float) -> list[tuple[int, int]]:
    """Return (height, width) of each pyramid level, finest first, by OpenCV's rule.

    Each level is rounded from the one before it, half to even as ``cvRound`` does.
    """
    sizes = [(height, width)]
    while len(sizes) < scales:
        height, width = round(height * scale_step), round(width * scale_step)
        if min(height, width) < MIN_SIDE:
            break
        sizes.append((height, width))
    return sizes

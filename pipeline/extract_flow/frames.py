"""Grey frames for TV-L1, two by two, from one pass over a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data.video.reading import read_frames


def prepare(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Grey picture that flow is computed on.

    Parameters
    ----------
    frame : ndarray (H, W, 3) uint8
        BGR, as OpenCV decodes it; grey levels from RGB would be others.
    size : (int, int)
        Width and height wanted, px.

    Returns
    -------
    ndarray (height, width) uint8
        Grey first, then resized: by area where both sides shrink, which keeps fine texture from
        flickering, and linearly otherwise.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    if (width, height) == size:
        return grey
    shrinks = size[0] <= width and size[1] <= height
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def read_pairs(
    path: Path, pairs: np.ndarray, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the two prepared frames of each pair, in order, in one pass over the video.

    Parameters
    ----------
    path : Path
    pairs : ndarray (P, 2) int64
        Sorted; neither column goes back. Each frame is converted once and kept only while a
        later pair may need it.
    size : (int, int)
        Width and height, px.
    """
    frames = read_frames(path, np.unique(pairs))
    held: dict[int, np.ndarray] = {}
    for first, second in pairs.tolist():
        while second not in held:
            index, frame = next(frames)
            held[index] = prepare(frame, size)
        for index in [index for index in held if index < first]:
            del held[index]
        yield held[first], held[second]

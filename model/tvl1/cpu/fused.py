"""TV-L1 with OpenCV's exact results, many times faster: pyramid, warps and medians.

Follows ``cv::optflow::DualTVL1OpticalFlow`` rounding by rounding; the inner iterations are
in ``solver``. Zach, Pock & Bischof 2007; Sánchez Pérez et al., doi:10.5201/ipol.2013.26.
Threads share nothing, and the interpreter lock is free while they compute. Each keeps the
workspace of its last call, about 90 bytes a pixel, for the next: the system would hand out and
clear all pages anew.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
import numpy.typing as npt

from model.tvl1.cpu.level import Effort, Level, workspace
from model.tvl1.frames import check_frames, level_sizes
from model.tvl1.options import TVL1Options

Image = npt.NDArray[np.float32]
f4 = np.float32

_kept = threading.local()


def calc(
    i0: npt.NDArray[np.uint8], i1: npt.NDArray[np.uint8], options: TVL1Options | None = None
) -> npt.NDArray[np.float32]:
    """Compute the flow that carries the first frame to the second.

    Parameters
    ----------
    i0, i1 : (H, W) uint8
        Grey frames, at least 2 px a side.
    options : TVL1Options, optional
        OpenCV's defaults when absent.

    Returns
    -------
    (H, W, 2) float32
        u (right) and v (down), in px. Exactly 0 for identical frames.

    Raises
    ------
    ValueError
        If a frame is not grey uint8, or the sizes differ.
    """
    return calc_and_count(i0, i1, options)[0]


def calc_and_count(
    i0: npt.NDArray[np.uint8], i1: npt.NDArray[np.uint8], options: TVL1Options | None = None
) -> tuple[npt.NDArray[np.float32], Effort]:
    """Compute the flow as ``calc`` does, and count the pixel-iterations that it took."""
    check_frames(i0, i1)
    options = options or TVL1Options()
    if np.array_equal(i0, i1):
        return np.zeros((*i0.shape, 2), f4), Effort(0, 0)
    height, width = i0.shape
    sizes = level_sizes(height, width, options.scales, options.scale_step)
    first = _pyramid(i0, len(sizes), options.scale_step)
    second = _pyramid(i1, len(sizes), options.scale_step)
    work = _own_workspace(height, width)
    u = v = np.zeros(sizes[-1], f4)
    kept = done = 0
    iterations = [1] * options.warps
    for level in range(len(sizes) - 1, -1, -1):
        if level < len(sizes) - 1:
            u = _finer(u, sizes[level], options.scale_step)
            v = _finer(v, sizes[level], options.scale_step)
        at = Level(first[level], second[level], work)
        u, v, effort, iterations = at.solve(u, v, options, iterations)
        kept += effort.kept
        done += effort.done
    return np.stack([u, v], axis=-1), Effort(kept, done)


def _own_workspace(height: int, width: int) -> Image:
    """Return this thread's workspace; what it holds is left from another call."""
    if getattr(_kept, "size", None) != (height, width):
        _kept.size, _kept.work = (height, width), workspace(height, width)
    return np.asarray(_kept.work)


def _pyramid(frame: npt.NDArray[np.uint8], levels: int, step: float) -> list[Image]:
    """Return the frame as float32 and its coarser copies, finest first."""
    images = [frame.astype(f4)]
    while len(images) < levels:
        coarser = cv2.resize(images[-1], None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
        images.append(_image(coarser))
    return images


def _finer(u: Image, size: tuple[int, int], step: float) -> Image:
    """Carry one component of the flow to the next finer level."""
    larger = cv2.resize(u, size[::-1], interpolation=cv2.INTER_LINEAR)
    return _image(cv2.multiply(larger, np.array([1 / step, 0.0, 0.0, 0.0])))


def _image(array: object) -> Image:
    """Tell the type checker what OpenCV returns; copies nothing."""
    return np.asarray(array, f4)

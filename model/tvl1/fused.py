"""TV-L1 with OpenCV's exact results, many times faster: pyramid, warps and medians.

Follows ``cv::optflow::DualTVL1OpticalFlow`` rounding by rounding; the inner iterations are
in ``solver``. Zach, Pock & Bischof 2007; Sánchez Pérez et al., doi:10.5201/ipol.2013.26.
Resizing, cubic warping and median filtering are OpenCV's own functions. Nothing is shared
between calls, and the interpreter lock is free while they compute.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from model.tvl1 import solver
from model.tvl1.frames import check_frames, level_sizes
from model.tvl1.lanes import WIDTH
from model.tvl1.options import TVL1Options
from model.tvl1.sweep import I0, STATES, U, V, plane_length, row_length, workspace_length

Image = npt.NDArray[np.float32]
f4 = np.float32


class Effort(NamedTuple):
    """Pixels times inner iterations: those OpenCV needs too, and those done to find them."""

    kept: int
    done: int


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
    work = _workspace(height, width)
    u = v = np.zeros(sizes[-1], f4)
    kept = done = 0
    for level in range(len(sizes) - 1, -1, -1):
        if level < len(sizes) - 1:
            u = _finer(u, sizes[level], options.scale_step)
            v = _finer(v, sizes[level], options.scale_step)
        u, v, effort = _solve_level(first[level], second[level], u, v, work, options)
        kept += effort.kept
        done += effort.done
    return np.stack([u, v], axis=-1), Effort(kept, done)


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


def _central_gradient(image: Image) -> tuple[Image, Image]:
    """Return central differences with replicated edges."""
    p = _image(cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE))
    return f4(0.5) * (p[1:-1, 2:] - p[1:-1, :-2]), f4(0.5) * (p[2:, 1:-1] - p[:-2, 1:-1])


def _workspace(height: int, width: int) -> Image:
    """Return room for all planes, aligned to whole cache lines."""
    length = workspace_length(height, width)
    room = np.empty(length + WIDTH, f4)
    start = -(room.ctypes.data // room.itemsize) % WIDTH
    return room[start : start + length]


def _plane(work: Image, plane: int, height: int, width: int) -> Image:
    """Return one plane's pixels, without their padding, as a view."""
    size = plane_length(height, width)
    padded = work[plane * size : (plane + 1) * size].reshape(height + 2, row_length(width))
    return padded[1 : height + 1, WIDTH : WIDTH + width]


def _solve_level(
    i0: Image, i1: Image, u: Image, v: Image, work: Image, options: TVL1Options
) -> tuple[Image, Image, Effort]:
    """Refine the flow at one pyramid level by successive linearisations."""
    height, width = i0.shape
    solver.prepare(work, height, width)
    _plane(work, I0, height, width)[:] = i0
    flows = [[_plane(work, s + c, height, width) for c in (U, V)] for s in STATES]
    flows[0][0][:], flows[0][1][:] = u, v
    # Room for OpenCV's result and the block that linearise reads beyond it.
    room = np.zeros(3 * (height * width + WIDTH), f4)
    warped = room[: 3 * height * width].reshape(height, width, 3)
    source = cv2.merge([i1, *_central_gradient(i1)])
    x = np.arange(width, dtype=f4)[None]
    y = np.arange(height, dtype=f4)[:, None]
    # The products are taken in double and rounded once, as in OpenCV.
    threshold = f4(options.epsilon * options.epsilon * (height * width))
    lt, ta = f4(options.lam * options.theta), f4(options.tau / options.theta)
    state, kept, done = 0, 0, 0
    for _ in range(options.warps):
        u, v = flows[state]
        cv2.remap(source, x + u, y + v, cv2.INTER_CUBIC, dst=warped)
        solver.linearise(work, room, height, width, state)
        for _ in range(options.outer):
            for component in flows[state]:
                if options.median > 1:
                    cv2.medianBlur(component, options.median, dst=component)
            state, going, n, m = solver.iterate(
                work, height, width, state, options.inner, threshold,
                lt, f4(options.theta), ta,
            )  # fmt: skip
            kept, done = kept + n, done + m
            if not going:
                break
    pixels = height * width
    return flows[state][0], flows[state][1], Effort(kept * pixels, done * pixels)


def _image(array: object) -> Image:
    """Tell the type checker what OpenCV returns; copies nothing."""
    return np.asarray(array, f4)

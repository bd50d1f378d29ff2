"""TV-L1 with OpenCV's exact arithmetic, many times faster: pyramid, warps and medians.

Follows ``cv::optflow::DualTVL1OpticalFlow`` rounding by rounding; the inner iterations are
in ``sweep``. Zach, Pock & Bischof 2007; Sánchez Pérez et al., doi:10.5201/ipol.2013.26.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from model.tvl1.frames import check_frames, level_sizes
from model.tvl1.options import TVL1Options
from model.tvl1 import sweep
from model.tvl1.lanes import WIDTH

Image = npt.NDArray[np.float32]


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
        u (right) and v (down), in px.

    Raises
    ------
    ValueError
        If a frame is not grey uint8, or the sizes differ.
    """
    check_frames(i0, i1)
    options = options or TVL1Options()
    if np.array_equal(i0, i1):
        return np.zeros((*i0.shape, 2), np.float32)
    sizes = level_sizes(*i0.shape, options.scales, options.scale_step)
    first = _pyramid(i0, len(sizes), options.scale_step)
    second = _pyramid(i1, len(sizes), options.scale_step)
    work = _workspace(*sizes[0])
    u = v = np.zeros(sizes[-1], np.float32)
    for level in range(len(sizes) - 1, -1, -1):
        if level < len(sizes) - 1:
            u = _finer(u, sizes[level], options.scale_step)
            v = _finer(v, sizes[level], options.scale_step)
        u, v = _solve_level(first[level], second[level], u, v, work, options)
    return np.stack([u, v], axis=-1)


def _workspace(height: int, width: int) -> Image:
    """Return room for all planes, aligned to whole cache lines."""
    length = sweep.PLANES * sweep.plane_length(height, width)
    length += sweep.DEPTH * WIDTH + sweep.row_length(width)
    room = np.empty(length + 16, np.float32)
    start = -room.ctypes.data // 4 % 16
    return room[start : start + length]


def _pyramid(frame: npt.NDArray[np.uint8], levels: int, step: float) -> list[Image]:
    """Return the frame as float32 and its coarser copies, finest first."""
    images = [frame.astype(np.float32)]
    while len(images) < levels:
        images.append(
            cv2.resize(images[-1], None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
        )
    return images


def _finer(u: Image, size: tuple[int, int], step: float) -> Image:
    """Carry one component of the flow to the next finer level."""
    larger = cv2.resize(u, size[::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(larger, (1 / step, 0, 0, 0))


def _central_gradient(image: Image) -> tuple[Image, Image]:
    """Return central differences with replicated edges."""
    p = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    half = np.float32(0.5)
    return half * (p[1:-1, 2:] - p[1:-1, :-2]), half * (p[2:, 1:-1] - p[:-2, 1:-1])


def _plane(work: Image, plane: int, height: int, width: int) -> Image:
    """Return one plane's pixels, without their padding, as a view."""
    row = sweep.row_length(width)
    size = sweep.plane_length(height, width)
    padded = work[plane * size : (plane + 1) * size].reshape(height + 2, row)
    return padded[1 : height + 1, WIDTH : WIDTH + width]


def _solve_level(
    i0: Image, i1: Image, u: Image, v: Image, work: Image, options: TVL1Options
) -> tuple[Image, Image]:
    """Refine the flow at one pyramid level by successive linearisations."""
    height, width = i0.shape
    work[: sweep.PLANES * sweep.plane_length(height, width)] = 0
    flows = [
        (_plane(work, s + sweep.U, height, width), _plane(work, s + sweep.V, height, width))
        for s in sweep.STATES
    ]
    flows[0][0][:], flows[0][1][:] = u, v
    source = cv2.merge([i1, *_central_gradient(i1)])
    x = np.arange(width, dtype=np.float32)[None]
    y = np.arange(height, dtype=np.float32)[:, None]
    threshold = np.float32(options.epsilon * options.epsilon * (height * width))
    lt = np.float32(options.lam * options.theta)
    ta = np.float32(options.tau / options.theta)
    state = 0
    for _ in range(options.warps):
        u, v = flows[state]
        warped = cv2.remap(source, x + u, y + v, cv2.INTER_CUBIC)
        sweep.linearise(work, warped, i0, state)
        for _ in range(options.outer):
            if options.median > 1:
                for component in flows[state]:
                    cv2.medianBlur(component, options.median, dst=component)
            state, going = sweep.iterate(
                work, height, width, state, options.inner, threshold,
                lt, np.float32(options.theta), ta, STATS,
            )  # fmt: skip
            if not going:
                break
    return flows[state]
STATS = np.zeros(2, np.int64)

"""TV-L1 with OpenCV's exact results, many times faster: pyramid, warps and medians.

Follows ``cv::optflow::DualTVL1OpticalFlow`` rounding by rounding; the inner iterations are
in ``solver``. Zach, Pock & Bischof 2007; Sánchez Pérez et al., doi:10.5201/ipol.2013.26.
A step that cannot be exact here is left to OpenCV's own function: a cubic warp on processors or
under OpenCV versions that round it otherwise, of very narrow images and of displacements beyond
2^20 px; a median over NaN or -0, or of another size.

Threads share nothing, and the interpreter lock is free while they compute. Each thread keeps the
workspace of its last call, about 90 bytes a pixel, for the next: otherwise the system
would hand out and clear all pages again.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from model.tvl1.cpu import solver
from model.tvl1.cpu.lanes import WIDTH
from model.tvl1.cpu.processor import HAS_FMA
from model.tvl1.cpu.solver import LIKELY_DEPTH
from model.tvl1.cpu.sweep import (
    GRAD,
    I0,
    IX,
    IY,
    RHO,
    STATES,
    U,
    V,
    plane_length,
    row_length,
)
from model.tvl1.frames import check_frames, level_sizes
from model.tvl1.options import TVL1Options

Image = npt.NDArray[np.float32]
f4 = np.float32

_kept = threading.local()


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
    work = _own_workspace(height, width)
    u = v = np.zeros(sizes[-1], f4)
    kept = done = 0
    iterations = [1] * options.warps
    for number in range(len(sizes) - 1, -1, -1):
        if number < len(sizes) - 1:
            u = _finer(u, sizes[number], options.scale_step)
            v = _finer(v, sizes[number], options.scale_step)
        level = Level(first[number], second[number], work)
        u, v, effort, iterations = level.solve(u, v, options, iterations)
        kept += effort.kept
        done += effort.done
    return np.stack([u, v], axis=-1), Effort(kept, done)


def workspace(height: int, width: int) -> Image:
    """Return room for a level of this size or a smaller one, aligned to whole cache lines."""
    length = solver.workspace_length(height, width)
    room = np.empty(length + WIDTH, f4)
    start = -(room.ctypes.data // room.itemsize) % WIDTH
    return room[start : start + length]


def _own_workspace(height: int, width: int) -> Image:
    """Return this thread's workspace, with whatever its last call left in it."""
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


class Level:
    """Two frames of one level of the pyramid, (H, W) float32 each, and their solution's state."""

    def __init__(self, first: Image, second: Image, work: Image) -> None:
        self.height, self.width = first.shape
        self.work = work
        self.second = np.ascontiguousarray(second)
        self._opencv_source: Image | None = None
        solver.prepare(work, self.second, self.height, self.width)
        self.plane(I0)[:] = first

    def plane(self, number: int) -> Image:
        """Return one plane's pixels, without their padding, as a view."""
        size = plane_length(self.height, self.width)
        padded = self.work[number * size : (number + 1) * size]
        padded = padded.reshape(self.height + 2, row_length(self.width))
        return padded[1 : self.height + 1, WIDTH : WIDTH + self.width]

    def flow(self, state: int) -> tuple[Image, Image]:
        """Return u and v of one of the two states, as views."""
        return self.plane(STATES[state] + U), self.plane(STATES[state] + V)

    def solve(
        self, u: Image, v: Image, options: TVL1Options, expected: Sequence[int]
    ) -> tuple[Image, Image, Effort, list[int]]:
        """Refine a flow by successive linearisations.

        ``expected`` is how many iterations each warp is likely to take before its second
        median; the last result is how many it took. The flow does not depend on it.
        """
        work, pixels = self.work, self.height * self.width
        size = self.height, self.width
        for plane, component in zip(self.flow(0), (u, v), strict=True):
            plane[:] = component
        # The products are taken in double and rounded once, as in OpenCV.
        threshold = f4(options.epsilon * options.epsilon * pixels)
        lt, ta = f4(options.lam * options.theta), f4(options.tau / options.theta)
        theta = f4(options.theta)
        state, kept, done = 0, 0, 0
        taken = []
        for last in expected:
            self.warp(state)
            for outer in range(options.outer):
                self.smooth(state, options.median)
                state, going, last, n = solver.iterate(
                    work, *size, state, options.inner, threshold, lt, theta, ta, _first_pass(last)
                )
                kept, done = kept + last, done + n
                if outer == 0:
                    taken.append(last)
                if not going:
                    break
        return *self.flow(state), Effort(kept * pixels, done * pixels), taken

    def warp(self, state: int) -> None:
        """Linearise the data term at a state's flow."""
        own = self.width >= WIDTH and HAS_FMA and _warps_as_opencv()
        if not (own and solver.warp(self.work, self.height, self.width, state)):
            self.warp_with_opencv(state)

    def warp_with_opencv(self, state: int) -> None:
        """Linearise with ``cv2.remap``."""
        if self._opencv_source is None:
            self._opencv_source = _image(cv2.merge([self.second, *_gradient(self.second)]))
        # Room for OpenCV's result and the block that linearise reads beyond it.
        room = np.zeros(3 * (self.height * self.width + WIDTH), f4)
        warped = room[: 3 * self.height * self.width].reshape(self.height, self.width, 3)
        u, v = self.flow(state)
        x = np.arange(self.width, dtype=f4)[None]
        y = np.arange(self.height, dtype=f4)[:, None]
        cv2.remap(self._opencv_source, x + u, y + v, cv2.INTER_CUBIC, dst=warped)
        solver.linearise(self.work, room, self.height, self.width, state)

    def smooth(self, state: int, side: int) -> None:
        """Filter a state's flow with a median of this side."""
        if side == 1 or (side == 5 and solver.smooth(self.work, self.height, self.width, state)):
            return
        for component in self.flow(state):
            cv2.medianBlur(component, side, dst=component)


@functools.cache
def _warps_as_opencv() -> bool:
    """Check whether our warp has the bits of this OpenCV's, on this processor.

    OpenCV's result depends on its version and on the instructions that it uses. The flows tried
    are still, smooth, rough, and lead out of the image.
    """
    rng = np.random.default_rng(0)
    height, width = 40, 53
    first, second = rng.uniform(0, 255, (2, height, width)).astype(f4)
    level = Level(first, second, workspace(height, width))
    constants = [level.plane(n) for n in (IX, IY, GRAD, RHO)]
    for amplitude in (0.0, 1e-3, 0.3, 2.0, 30.0):
        u, v = level.flow(0)
        u[:], v[:] = rng.normal(0, amplitude, (2, height, width))
        if amplitude < 1:
            v += np.linspace(-3, 3, width, dtype=f4)
        ours = solver.warp(level.work, height, width, 0), [c.copy() for c in constants]
        level.warp_with_opencv(0)
        if not ours[0] or not all(map(np.array_equal, ours[1], constants)):
            return False
    return True


def _first_pass(expected: int) -> int:
    """Return how many iterations to do at once where so many are expected: three quarters.

    Too many would have to be repeated; too few cost a pass through memory.
    """
    return max(min(expected, 2), min(3 * expected // 4, LIKELY_DEPTH))


def _gradient(image: Image) -> tuple[Image, Image]:
    """Return central differences with replicated edges."""
    p = _image(cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE))
    return f4(0.5) * (p[1:-1, 2:] - p[1:-1, :-2]), f4(0.5) * (p[2:, 1:-1] - p[:-2, 1:-1])


def _image(array: object) -> Image:
    """Give the type checker the type of what OpenCV returns; copies nothing."""
    return np.asarray(array, f4)

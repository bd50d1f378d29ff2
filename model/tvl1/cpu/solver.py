"""Compiled entry points: inner iterations with OpenCV's exact stop, warps and medians."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable

from model.tvl1.cpu.compiled import cached
from model.tvl1.cpu.median import median5, median_length, ordinary
from model.tvl1.cpu.sweep import (
    DEPTH,
    STATES,
    Grid,
    U,
    V,
    Weights,
    advance,
    clear,
    fill_constants,
    kernel,
    plane_length,
    row_length,
    serial_squared_change,
    squared_change,
    sweep_length,
)
from model.tvl1.cpu.warp import prepare_source, source_length, warp_and_linearise

Flat = npt.NDArray[np.float32]
Image = npt.NDArray[np.float32]
Changes = npt.NDArray[np.float64]

# Verdicts on an iteration: go on, stop after it, too near to call, or not finite.
GO, STOP, DOUBTFUL, BROKEN = range(4)
# Beyond these the fast arithmetic is not proven, and plain arithmetic is used.
BROKEN_CHANGE = 1e30
# The squared change of the n-th iteration is about n^-power; its usual and its least value.
USUAL_POWER, LEAST_POWER = 1.5, 0.6
# Deeper passes only where the stop is far; a stop is at most so many times n away.
LIKELY_DEPTH, FAR = 8, 1000.0
LARGE_WEIGHT = 8192.0


@kernel
def _judge(grid: Grid, depth: int, threshold: float, doubt: float) -> tuple[int, int]:
    """Return how many iterations of a pass to keep, and the verdict on the last one seen."""
    for k in range(depth):
        change = squared_change(grid, k)
        if not change < BROKEN_CHANGE:
            return k, BROKEN
        if change * (1 + doubt) <= threshold:
            return k + 1, STOP
        if change * (1 - doubt) <= threshold:
            return k, DOUBTFUL
    return depth, GO


@kernel
def _next_depth(changes: Changes, n: int, threshold: float, left: int, first: int) -> int:
    """Guess how many iterations to do at once after n: most of those that the decay promises.

    ``changes`` are the squared changes so far, which fall about as a power of n.
    """
    if n == 0 or threshold == 0:
        return min(left, first if n == 0 else DEPTH)
    change, earlier = changes[n - 1], max(1, 2 * n // 3)
    if not change < BROKEN_CHANGE:
        return 1
    power = USUAL_POWER
    if n > 1:
        power = max(math.log(changes[earlier - 1] / change) / math.log(n / earlier), LEAST_POWER)
    remaining = n * min((change / threshold) ** (1 / power) - 1, FAR)
    likely = min(int(0.75 * remaining), LIKELY_DEPTH)
    return max(1, min(left, DEPTH, max(likely, int(0.35 * remaining))))


@kernel
def _note_changes(grid: Grid, changes: Changes, n: int, kept: int) -> None:
    """Write the squared changes of a pass's kept iterations after the first n."""
    for k in range(kept):
        changes[n + k] = squared_change(grid, k)


@kernel
def _grid(work: Flat, height: int, width: int) -> Grid:
    row = row_length(width)
    return Grid(work.ctypes.data, height, width, row, plane_length(height, width))


@kernel
def _iterate(
    work: Flat, height: int, width: int, state: int, inner: int, threshold: float,
    lt: np.float32, theta: np.float32, ta: np.float32, first: int,
) -> tuple[int, bool, int, int]:  # fmt: skip
    grid = _grid(work, height, width)
    size = grid.size
    careful = not max(lt, theta, ta) < LARGE_WEIGHT
    weights = Weights(lt, theta, ta, careful)
    old, new = STATES[state] * size, STATES[1 - state] * size
    # What a float32 sum of n positive terms can differ by, whatever the order.
    lost = min((height * width + 64) * 2.0**-24, 0.9)
    doubt = 1.1 * lost / (1 - lost)
    changes = np.empty(inner)
    kept_all = done_all = 0
    going, alone = True, False
    while kept_all < inner and going:
        left = inner - kept_all
        depth = 1 if alone else _next_depth(changes, kept_all, threshold, left, first)
        alone = False
        advance(grid, weights, depth, old, new)
        done_all += depth
        kept, verdict = _judge(grid, depth, threshold, doubt)
        if verdict == BROKEN and not careful:
            careful = True
            weights = Weights(lt, theta, ta, careful)
            continue
        if verdict == STOP:
            going = False
        elif verdict != GO and depth == 1:
            going = bool(serial_squared_change(grid, old, new) > threshold)
            kept = 1
        elif verdict != GO:
            alone = True
        if kept == 0:
            continue
        if kept < depth:
            advance(grid, weights, kept, old, new)
            done_all += kept
        _note_changes(grid, changes, kept_all, kept)
        kept_all += kept
        old, new, state = new, old, 1 - state
    return state, going, kept_all, done_all


@register_jitable
def _source_start(height: int, width: int) -> int:
    return sweep_length(height, width) + median_length(width)


def workspace_length(height: int, width: int) -> int:
    """Return the float32 of a workspace: planes of the sweep, room to filter, the source."""
    return _source_start(height, width) + source_length(height, width)


@kernel
def _source(work: Flat, height: int, width: int) -> int:
    """Return the address of the source of warps."""
    return work.ctypes.data + work.itemsize * _source_start(height, width)


@kernel
def _prepare(work: Flat, second: Image, height: int, width: int) -> None:
    grid = _grid(work, height, width)
    clear(grid)
    prepare_source(grid, _source(work, height, width), second.ctypes.data)


@kernel
def _warp(work: Flat, height: int, width: int, state: int) -> bool:
    return warp_and_linearise(_grid(work, height, width), _source(work, height, width), state)


@kernel
def _smooth(work: Flat, height: int, width: int, state: int) -> bool:
    grid = _grid(work, height, width)
    u, v = (STATES[state] + U) * grid.size, (STATES[state] + V) * grid.size
    if not (ordinary(grid, u) and ordinary(grid, v)):
        return False
    room = sweep_length(height, width)
    median5(grid, u, room)
    median5(grid, v, room)
    return True


@kernel
def _linearise(work: Flat, warped: Flat, height: int, width: int, state: int) -> None:
    fill_constants(_grid(work, height, width), warped.ctypes.data, state)


def _compile(sources: str) -> tuple[Callable, ...]:
    """Return the entry points.

    Numba's cache looks at this file alone for changes; naming the digest of all sources in
    the functions makes it part of the key.
    """

    @cached(nogil=True, error_model="numpy")
    def iterate(
        work: Flat, height: int, width: int, state: int, inner: int, threshold: float,
        lt: np.float32, theta: np.float32, ta: np.float32, first: int,
    ) -> tuple[int, bool, int, int]:  # fmt: skip
        """Iterate until the squared change of the flow is at most the threshold.

        ``first`` is how many iterations to do at once to begin with.

        Returns which of the two states holds the result, whether to go on after the next
        median filter, and how many iterations were kept and done.
        """
        _ = sources
        return _iterate(work, height, width, state, inner, threshold, lt, theta, ta, first)

    @cached(nogil=True, error_model="numpy")
    def linearise(work: Flat, warped: Flat, height: int, width: int, state: int) -> None:
        """Fill a warp's constants; ``warped`` holds (H, W, 3) and a block of lanes more."""
        _ = sources
        _linearise(work, warped, height, width, state)

    @cached(nogil=True, error_model="numpy")
    def prepare(work: Flat, second: Image, height: int, width: int) -> None:
        """Zero what one level's solution takes to be zero; take the frame that is warped."""
        _ = sources
        _prepare(work, second, height, width)

    @cached(nogil=True, error_model="numpy")
    def warp(work: Flat, height: int, width: int, state: int) -> bool:
        """Fill a warp's constants; False where the flow is beyond what is exact here."""
        _ = sources
        return _warp(work, height, width, state)

    @cached(nogil=True, error_model="numpy")
    def smooth(work: Flat, height: int, width: int, state: int) -> bool:
        """Filter both components of the flow with a 5x5 median.

        False, and nothing is changed, where values are NaN or -0.
        """
        _ = sources
        return _smooth(work, height, width, state)

    return iterate, linearise, prepare, warp, smooth


def _digest() -> str:
    """Return the digest of all sources that are compiled into the entry points."""
    folder = Path(__file__).parent
    names = ("processor", "lanes", "order", "kernels", "sweep", "median", "warp", "solver")
    sources = [(folder / f"{name}.py").read_bytes() for name in names]
    return hashlib.sha256(b"".join(sources)).hexdigest()


iterate, linearise, prepare, warp, smooth = _compile(_digest())

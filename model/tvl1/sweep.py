"""The inner iterations of TV-L1: several in one pass through memory.

A pass carries a front of iterations down the image, each one row behind the one before, so
that a row is still in the cache when the next iteration needs it. The pass reads one copy of
the state and writes another: where the stop test finds that it went too far, it is repeated
from the old copy to the right iteration, so that the result is that of one at a time.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from model.tvl1.kernels import (
    data_step,
    divergence,
    fast_hypot,
    ONE,
    scalar_norm,
)
from model.tvl1.lanes import (
    HAS_FMA,
    WIDTH,
    any_lane,
    get,
    hypot,
    hypot_unsure,
    lane_before,
    load,
    put,
    select,
    spread,
    store,
)

f4 = np.float32
Flat = npt.NDArray[np.float32]

# Planes of the workspace: constants of one warp, then two copies of the state.
IX, IY, GRAD, RHO = range(4)
STATES = (4, 10)
U, V, P11, P12, P21, P22 = range(6)
PLANES = 16
# Iterations in one pass at most.
DEPTH = 8

# Verdicts on an iteration: go on, stop after it, too near to call, or not finite.
GO, STOP, DOUBTFUL, BROKEN = range(4)
# Beyond these sizes the fast arithmetic is not proven, and the plain one is used.
_BROKEN_CHANGE = 1e30
_LARGE = 8192.0

_inline = njit(forceinline=True, error_model="numpy")


@_inline
def _primal_block(w, i, row, size, old, new, x, width, lt, theta, edge):  # type: ignore[no-untyped-def]
    """Update the flow of the block at i; return the squared change of each pixel."""
    ix = load(w, IX * size + i)
    iy = load(w, IY * size + i)
    u = load(w, old + U * size + i)
    v = load(w, old + V * size + i)
    rho = load(w, RHO * size + i) + (ix * u + iy * v)
    k = data_step(rho, load(w, GRAD * size + i), lt)
    first = edge and x == 0
    p, q = old + P11 * size + i, old + P12 * size + i
    div = divergence(load(w, p), load(w, p - 1), load(w, q), load(w, q - row), first)
    new_u = (u + k * ix) + theta * div
    p, q = old + P21 * size + i, old + P22 * size + i
    div = divergence(load(w, p), load(w, p - 1), load(w, q), load(w, q - row), first)
    new_v = (v + k * iy) + theta * div
    store(w, new + U * size + i, new_u)
    store(w, new + V * size + i, new_v)
    du = new_u - u
    dv = new_v - v
    change = du * du + dv * dv
    if edge:
        change = select(lane_before(width - x), change, spread(f4(0.0)))
    return change


@njit(nogil=True, error_model="numpy")
def _primal_row(w, at, row, size, old, new, width, lt1, theta1, sums):  # type: ignore[no-untyped-def]
    """Update the flow of the row at ``at`` and add its squared change to ``sums``."""
    lt, theta = spread(lt1), spread(theta1)
    last = (width - 1) // WIDTH * WIDTH
    total = load(sums, 0) + _primal_block(
        w, at, row, size, old, new, 0, width, lt, theta, True
    )
    for x in range(WIDTH, last, WIDTH):
        total = total + _primal_block(
            w, at + x, row, size, old, new, x, width, lt, theta, False
        )
    if last > 0:
        total = total + _primal_block(
            w, at + last, row, size, old, new, last, width, lt, theta, True
        )
    store(sums, 0, total)
    # The forward difference over the right edge is zero.
    for c in range(2):
        end = new + (U + c) * size + at + width
        put(w, end, get(w, end - 1))


@njit(nogil=True, error_model="numpy")
def _norm_row(w, u, below, norm, width, ta1, careful):  # type: ignore[no-untyped-def]
    """Write 1 + (tau/theta)·|grad u| of one row; ``below`` is the next row's u."""
    ta = spread(ta1)
    for x in range(0, width, WIDTH):
        here = load(w, u + x)
        dx = load(w, u + x + 1) - here
        dy = load(w, below + x) - here
        if HAS_FMA and not careful:
            h, unsure = fast_hypot(dx, dy)
            store(w, norm + x, spread(ONE) + ta * h)
            if not any_lane(unsure):
                continue
        if any_lane(hypot_unsure(dx, dy)):
            scalar_norm(w, u + x, below + x, norm + x, ta1)
        else:
            store(w, norm + x, spread(ONE) + ta * hypot(dx, dy))


@njit(nogil=True, error_model="numpy")
def _dual_row(w, u, below, norm, p, q, new_p, new_q, width, ta1):  # type: ignore[no-untyped-def]
    """Ascend the dual variables of one component in one row."""
    ta = spread(ta1)
    for x in range(0, width, WIDTH):
        here = load(w, u + x)
        dx = load(w, u + x + 1) - here
        dy = load(w, below + x) - here
        divisor = load(w, norm + x)
        store(w, new_p + x, (load(w, p + x) + ta * dx) / divisor)
        store(w, new_q + x, (load(w, q + x) + ta * dy) / divisor)


@njit(nogil=True, error_model="numpy")
def _advance_row(w, y, row, size, old, new, height, width, lt, theta, ta, careful, sums, norm):  # type: ignore[no-untyped-def]
    """Carry row y of the flow and row y-1 of the dual variables one iteration on."""
    at = (y + 1) * row + WIDTH
    if y < height:
        _primal_row(w, at, row, size, old, new, width, lt, theta, sums)
    if y > 0:
        at -= row
        # The forward difference over the bottom edge is zero.
        below = at + row if y < height else at
        for c in range(2):
            u = new + (U + c) * size
            p = (P11 + 2 * c) * size + at
            q = p + size
            _norm_row(w, u + at, u + below, norm, width, ta, careful)
            _dual_row(
                w, u + at, u + below, norm, old + p, old + q, new + p, new + q, width, ta
            )


@njit(nogil=True, error_model="numpy")
def _sweep(w, depth, row, size, old, new, height, width, lt, theta, ta, careful, sums):  # type: ignore[no-untyped-def]
    """Read the state at ``old``, write the state ``depth`` iterations later at ``new``."""
    for i in range(depth * WIDTH):
        put(sums, i, f4(0.0))
    norm = PLANES * size + DEPTH * WIDTH
    for step in range(height + depth):
        for k in range(max(0, step - height), min(depth, step + 1)):
            source = old if k == 0 else new
            _advance_row(
                w, step - k, row, size, source, new, height, width, lt, theta, ta,
                careful, sums + 4 * k * WIDTH, norm,
            )  # fmt: skip


@njit(nogil=True, error_model="numpy")
def _change(sums, k):  # type: ignore[no-untyped-def]
    """Return the summed squared change of the k-th iteration of a sweep."""
    total = 0.0
    for i in range(k * WIDTH, (k + 1) * WIDTH):
        total += np.float64(get(sums, i))
    return total


@njit(nogil=True, error_model="numpy")
def _serial_change(w, row, size, old, new, height, width):  # type: ignore[no-untyped-def]
    """Sum the squared change in OpenCV's order, in float32."""
    total = f4(0.0)
    for y in range(height):
        at = (y + 1) * row + WIDTH
        for i in range(at, at + width):
            du = get(w, new + i) - get(w, old + i)
            dv = get(w, new + size + i) - get(w, old + size + i)
            total += du * du + dv * dv
    return total


@njit(nogil=True, error_model="numpy")
def _judge(sums, depth, threshold, doubt):  # type: ignore[no-untyped-def]
    """Return how many iterations of a sweep to keep, and the verdict on the last looked at."""
    for k in range(depth):
        change = _change(sums, k)
        if not change < _BROKEN_CHANGE:
            return k, BROKEN
        if change <= threshold * (1 - doubt):
            return k + 1, STOP
        if change <= threshold * (1 + doubt):
            return k, DOUBTFUL
    return depth, GO


@njit(nogil=True, error_model="numpy")
def _depth(error, previous, threshold, left):  # type: ignore[no-untyped-def]
    """Guess how many iterations are safe to do at once: most of those that remain."""
    if not (previous < np.inf and threshold > 0 and error < previous):
        return min(left, 2)
    remaining = math.log(error / threshold) / math.log(previous / error)
    return max(1, min(left, DEPTH, int(0.75 * min(remaining, 100.0))))


@njit(cache=True, nogil=True, error_model="numpy")
def iterate(
    work: Flat,
    height: int,
    width: int,
    state: int,
    inner: int,
    threshold: float,
    lt: float,
    theta: float,
    ta: float,
    stats: npt.NDArray[np.int64],
) -> tuple[int, bool]:
    """Iterate until the summed squared change is at most the threshold.

    Returns which of the two states holds the result, and whether it is to go on.
    ``stats`` counts iterations wanted and done.
    """
    row = row_length(width)
    size = plane_length(height, width)
    old, new = STATES[state] * size, STATES[1 - state] * size
    # What a float32 sum of n positive terms can differ by, whatever the order.
    doubt = 1.1 * (height * width + 64) * 2.0**-24
    w = work.ctypes.data
    sums = w + 4 * PLANES * size
    careful = not (ta < _LARGE and theta < _LARGE and lt < _LARGE)
    error = previous = np.inf
    done = 0
    alone = False
    going = True
    while done < inner and going:
        depth = 1 if alone else _depth(error, previous, threshold, inner - done)
        alone = False
        _sweep(w, depth, row, size, old, new, height, width, lt, theta, ta, careful, sums)
        stats[1] += depth
        kept, verdict = _judge(sums, depth, threshold, doubt)
        if verdict == BROKEN and not careful:
            careful = True
            continue
        if verdict >= DOUBTFUL and depth == 1:
            going = _serial_change(w, row, size, old, new, height, width) > threshold
            kept = 1
        elif verdict >= DOUBTFUL:
            alone = True
        going = going and verdict != STOP
        if kept == 0:
            continue
        if kept < depth:
            _sweep(w, kept, row, size, old, new, height, width, lt, theta, ta, careful, sums)
            stats[1] += kept
        previous = _change(sums, kept - 2) if kept > 1 else error
        error = _change(sums, kept - 1)
        done += kept
        old, new, state = new, old, 1 - state
    stats[0] += done
    return state, going


@njit(cache=True)
def row_length(width: int) -> int:
    """Return the floats of one padded row: a block before it and one or two after."""
    return (width + WIDTH - 1) // WIDTH * WIDTH + 2 * WIDTH


@njit(cache=True)
def plane_length(height: int, width: int) -> int:
    """Return the floats of one padded plane: a row of zeros before it and one after."""
    return (height + 2) * row_length(width)


@njit(cache=True, nogil=True, error_model="numpy")
def linearise(w: Flat, warped: Flat, i0: Flat, state: int) -> None:
    """Fill the constants of one warp from the warped frame and its gradient, (H, W, 3)."""
    height, width = i0.shape
    row = row_length(width)
    size = plane_length(height, width)
    u, v = (STATES[state] + U) * size, (STATES[state] + V) * size
    for y in range(height):
        for x in range(width):
            i = (y + 1) * row + WIDTH + x
            i1w, ix, iy = warped[y, x, 0], warped[y, x, 1], warped[y, x, 2]
            grad = ix * ix + iy * iy
            w[IX * size + i] = ix
            w[IY * size + i] = iy
            w[GRAD * size + i] = grad
            w[RHO * size + i] = ((i1w - ix * w[u + i]) - iy * w[v + i]) - i0[y, x]

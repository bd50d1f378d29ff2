"""One pass through memory that carries TV-L1 several iterations on.

A pass moves a front of iterations down the image, each one row behind the one before, so
that a row is still in the cache when the next iteration needs it. It reads one copy of the
state and writes another: where the stop test finds that it went too far, it is repeated from
the old copy to the right iteration, and the result is that of one iteration at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from model.tvl1.cpu.kernels import (
    ONE,
    ZERO,
    data_step,
    divergence,
    fast_hypot,
    inlined,
    scalar_norm,
)
from model.tvl1.cpu.lanes import (
    WIDTH,
    Lanes,
    any_lane,
    get,
    hypot,
    hypot_unsure,
    lane_before,
    load,
    load_first,
    load_second,
    load_third,
    put,
    select,
    spread,
    store,
)
from model.tvl1.cpu.processor import HAS_FMA

f4 = np.float32

# Planes of the workspace: constants of one warp, then two copies of the state.
I0, IX, IY, GRAD, RHO = range(5)
STATES = (5, 11)
U, V, P11, P12, P21, P22 = range(6)
PLANES = 17
# Iterations in one pass at most.
DEPTH = 12

kernel = njit(nogil=True, error_model="numpy")


class Grid(NamedTuple):
    """Where things are: an address, and lengths in float32 counted from it."""

    w: int
    height: int
    width: int
    row: int
    size: int


class Weights(NamedTuple):
    """The energy's weights in float32, and whether to use plain arithmetic throughout."""

    lt: np.float32
    theta: np.float32
    ta: np.float32
    careful: bool


@register_jitable
def row_length(width: int) -> int:
    """Return the float32 of a padded row: a block before the pixels, and up to two after."""
    return (width + WIDTH - 1) // WIDTH * WIDTH + 2 * WIDTH


@register_jitable
def plane_length(height: int, width: int) -> int:
    """Return the float32 of a padded plane: a row of zeros before the image and one after."""
    return (height + 2) * row_length(width)


@register_jitable
def sweep_length(height: int, width: int) -> int:
    """Return the float32 that the sweep works on: planes, sums of one pass, a block of norms."""
    return PLANES * plane_length(height, width) + DEPTH * WIDTH + WIDTH


@kernel
def clear(grid: Grid) -> None:
    """Zero the padding of all planes, and the first state's dual variables."""
    w, row, size = grid.w, grid.row, grid.size
    for plane in range(PLANES):
        dual = STATES[0] + P11 <= plane <= STATES[0] + P22
        for y in range(grid.height + 2):
            at = plane * size + y * row
            outside = y == 0 or y > grid.height
            for x in range(0, row, WIDTH):
                if dual or outside or x == 0 or x + WIDTH > grid.width:
                    store(w, at + x, spread(ZERO))


@kernel
def fill_constants(grid: Grid, warped: int, state: int) -> None:
    """Fill one warp's constants from the warped frame and its gradient, interleaved at warped.

    Reads up to a block beyond the last pixel.
    """
    w, size = grid.w, grid.size
    flow = STATES[state] * size
    for y in range(grid.height):
        for x in range(0, grid.width, WIDTH):
            at = (y + 1) * grid.row + WIDTH + x
            pixel = 3 * (y * grid.width + x)
            inside = lane_before(grid.width - x)
            ix = select(inside, load_second(warped, pixel), spread(ZERO))
            iy = select(inside, load_third(warped, pixel), spread(ZERO))
            store(w, IX * size + at, ix)
            store(w, IY * size + at, iy)
            store(w, GRAD * size + at, ix * ix + iy * iy)
            rho = load_first(warped, pixel) - ix * load(w, flow + U * size + at)
            rho = (rho - iy * load(w, flow + V * size + at)) - load(w, I0 * size + at)
            store(w, RHO * size + at, select(inside, rho, spread(ZERO)))


@inlined
def _primal_block(
    grid: Grid, lt: Lanes, theta: Lanes, at: int, x: int, old: int, new: int, edge: bool
) -> Lanes:
    """Update u and v of the block at column x; return each pixel's squared change."""
    w, size, i = grid.w, grid.size, at + x
    ix = load(w, IX * size + i)
    iy = load(w, IY * size + i)
    u = load(w, old + U * size + i)
    v = load(w, old + V * size + i)
    rho = load(w, RHO * size + i) + (ix * u + iy * v)
    k = data_step(rho, load(w, GRAD * size + i), lt)
    first = edge and x == 0
    p, q = old + P11 * size + i, old + P12 * size + i
    div = divergence(load(w, p), load(w, p - 1), load(w, q), load(w, q - grid.row), first)
    new_u = (u + k * ix) + theta * div
    p, q = old + P21 * size + i, old + P22 * size + i
    div = divergence(load(w, p), load(w, p - 1), load(w, q), load(w, q - grid.row), first)
    new_v = (v + k * iy) + theta * div
    store(w, new + U * size + i, new_u)
    store(w, new + V * size + i, new_v)
    du = new_u - u
    dv = new_v - v
    change = du * du + dv * dv
    if edge:
        change = select(lane_before(grid.width - x), change, spread(ZERO))
    return change


@kernel
def _primal_row(grid: Grid, weights: Weights, at: int, old: int, new: int, sums: int) -> None:
    """Update the flow of the row at ``at`` and add its squared change to ``sums``."""
    lt, theta = spread(weights.lt), spread(weights.theta)
    last = (grid.width - 1) // WIDTH * WIDTH
    total = load(grid.w, sums) + _primal_block(grid, lt, theta, at, 0, old, new, True)
    for x in range(WIDTH, last, WIDTH):
        total = total + _primal_block(grid, lt, theta, at, x, old, new, False)
    if last > 0:
        total = total + _primal_block(grid, lt, theta, at, last, old, new, True)
    store(grid.w, sums, total)
    # The forward difference over the right edge is zero.
    for c in range(2):
        end = new + (U + c) * grid.size + at + grid.width
        put(grid.w, end, get(grid.w, end - 1))


@inlined
def _gradient(w: int, u: int, below: int) -> tuple[Lanes, Lanes]:
    """Return the forward differences of a block; ``below`` is where the next row starts."""
    here = load(w, u)
    return load(w, u + 1) - here, load(w, below) - here


@inlined
def _ascend(
    w: int, size: int, ta: Lanes, old: int, new: int, dx: Lanes, dy: Lanes, norm: Lanes
) -> None:
    """Carry a block of p and q, a plane apart at ``old`` and ``new``, along the gradient."""
    store(w, new, (load(w, old) + ta * dx) / norm)
    store(w, new + size, (load(w, old + size) + ta * dy) / norm)


@kernel
def _careful_block(grid: Grid, weights: Weights, u: int, below: int, old: int, new: int) -> None:
    """Update a block of the dual variables of u and v with a plain root."""
    w, size, ta = grid.w, grid.size, spread(weights.ta)
    room = PLANES * size + DEPTH * WIDTH
    for c in range(2):
        at, under = u + c * size, below + c * size
        dx, dy = _gradient(w, at, under)
        norm = spread(ONE) + ta * hypot(dx, dy)
        if any_lane(hypot_unsure(dx, dy)):
            scalar_norm(w, at, under, room, weights.ta)
            norm = load(w, room)
        p = 2 * c * size
        _ascend(w, size, ta, old + p, new + p, dx, dy, norm)


@kernel
def _ascend_where_sure(
    grid: Grid, weights: Weights, x: int, u: int, below: int, old: int, new: int
) -> int:
    """Update a row's dual variables from column x on; return where the fast root is not certain.

    Those of u and v are done side by side: each is one long chain of operations. The loop calls
    nothing, so that what it needs stays in registers.
    """
    w, size, ta, one = grid.w, grid.size, spread(weights.ta), spread(ONE)
    v, under, p = u + size, below + size, 2 * size
    while x < grid.width:
        ux, uy = _gradient(w, u + x, below + x)
        vx, vy = _gradient(w, v + x, under + x)
        hu, unsure = fast_hypot(ux, uy)
        hv, also = fast_hypot(vx, vy)
        if any_lane(unsure | also):
            break
        _ascend(w, size, ta, old + x, new + x, ux, uy, one + ta * hu)
        _ascend(w, size, ta, old + p + x, new + p + x, vx, vy, one + ta * hv)
        x += WIDTH
    return x


@kernel
def _dual_row(grid: Grid, weights: Weights, u: int, below: int, old: int, new: int) -> None:
    """Update one row of the dual variables; ``below`` is the next row of u."""
    x = 0
    while x < grid.width:
        if HAS_FMA and not weights.careful:
            x = _ascend_where_sure(grid, weights, x, u, below, old, new)
        if x < grid.width:
            _careful_block(grid, weights, u + x, below + x, old + x, new + x)
            x += WIDTH


@kernel
def _advance_row(grid: Grid, weights: Weights, y: int, old: int, new: int, sums: int) -> None:
    """Carry row y of the flow and row y-1 of the dual variables one iteration on."""
    size = grid.size
    at = (y + 1) * grid.row + WIDTH
    if y < grid.height:
        _primal_row(grid, weights, at, old, new, sums)
    if y > 0:
        at -= grid.row
        # The forward difference over the bottom edge is zero.
        below = at + grid.row if y < grid.height else at
        u = new + U * size
        p = P11 * size + at
        _dual_row(grid, weights, u + at, u + below, old + p, new + p)


@kernel
def advance(grid: Grid, weights: Weights, depth: int, old: int, new: int) -> None:
    """Read the state at ``old``; write that of ``depth`` iterations later at ``new``."""
    sums = PLANES * grid.size
    for i in range(depth * WIDTH):
        put(grid.w, sums + i, ZERO)
    for step in range(grid.height + depth):
        for k in range(max(0, step - grid.height), min(depth, step + 1)):
            source = old if k == 0 else new
            _advance_row(grid, weights, step - k, source, new, sums + k * WIDTH)


@kernel
def squared_change(grid: Grid, k: int) -> float:
    """Return the squared change of the flow in the k-th iteration of the last pass."""
    start = PLANES * grid.size + k * WIDTH
    total = 0.0
    for i in range(start, start + WIDTH):
        total += np.float64(get(grid.w, i))
    return total


@kernel
def serial_squared_change(grid: Grid, old: int, new: int) -> np.float32:
    """Return the squared change between two states, summed in float32 in OpenCV's order."""
    w, size = grid.w, grid.size
    total = ZERO
    for y in range(grid.height):
        at = (y + 1) * grid.row + WIDTH
        for i in range(at, at + grid.width):
            du = get(w, new + i) - get(w, old + i)
            dv = get(w, new + size + i) - get(w, old + size + i)
            total += du * du + dv * dv
    return total

"""Cubic warping of a frame and its gradient, rounded exactly as OpenCV 5's ``cv2.remap``.

OpenCV 5 weighs the four columns, then the four rows, each time with a chain of fused
multiply-adds from the first tap on. Here neighbouring pixels of a block read neighbouring
taps as long as all move by nearly the same whole pixels, so that taps are plain loads and a
few selections instead of gathers; other blocks gather. Outside the image all is zero.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from model.tvl1.cpu.kernels import ONE, ZERO, inlined
from model.tvl1.cpu.lanes import (
    WIDTH,
    Lanes,
    any_lane,
    counted,
    first_lane,
    floor,
    fma,
    get,
    lane_before,
    load,
    put,
    select,
    spread,
    store,
)
from model.tvl1.cpu.order import largest, smallest
from model.tvl1.cpu.sweep import GRAD, I0, IX, IY, RHO, STATES, Grid, U, V, kernel, row_length

f4 = np.float32

# Rows of zeros before and after the source image: every tap of a clamped pixel is there.
MARGIN = 4
# Planes of the source: the frame and its two derivatives.
CHANNELS = 3
# Taps of one pixel in one of them.
TAPS = 16
# A block whose pixels differ by more whole pixels than this is gathered.
SPREAD_LIMIT = 32
# Displacements from here on are left to OpenCV.
FAR = f4(2.0**20)
HALF, NOTHING = f4(0.5), f4(-0.0)


@register_jitable
def source_plane(height: int, width: int) -> int:
    """Return the float32 of one plane of the source."""
    return (height + 2 * MARGIN) * row_length(width)


@register_jitable
def source_length(height: int, width: int) -> int:
    """Return the float32 of the source: its planes, and room to gather one block's taps."""
    return CHANNELS * source_plane(height, width) + CHANNELS * TAPS * WIDTH + 3 * WIDTH


@kernel
def prepare_source(grid: Grid, source: int, image: int) -> None:
    """Fill the source from the (H, W) float32 at ``image``; derivatives replicate the edges."""
    size, last = source_plane(grid.height, grid.width), grid.width - 1
    for i in range(0, CHANNELS * size, WIDTH):
        store(source, i, spread(ZERO))
    for y in range(grid.height):
        at = (y + MARGIN) * grid.row + WIDTH
        for x in range(grid.width):
            put(source, at + x, get(image, y * grid.width + x))
    half = spread(HALF)
    for y in range(grid.height):
        at = (y + MARGIN) * grid.row + WIDTH
        above = at - grid.row if y > 0 else at
        below = at + grid.row if y < grid.height - 1 else at
        for x in range(0, grid.width, WIDTH):
            inside = lane_before(grid.width - x)
            dx = half * (load(source, at + x + 1) - load(source, at + x - 1))
            dy = half * (load(source, below + x) - load(source, above + x))
            store(source, size + at + x, select(inside, dx, spread(ZERO)))
            store(source, 2 * size + at + x, select(inside, dy, spread(ZERO)))
        right = min(1, last)
        put(source, size + at, HALF * (get(source, at + right) - get(source, at)))
        dx = HALF * (get(source, at + last) - get(source, at + last - right))
        put(source, size + at + last, dx)


@inlined
def _weights(t: Lanes) -> tuple[Lanes, Lanes, Lanes, Lanes]:
    """Return the weights of taps -1, 0, 1, 2 at fraction t: cubic convolution, a = -0.75."""
    a, one = spread(f4(-0.75)), spread(ONE)
    rest, square = one - t, t * t
    before = a * (t * (rest * rest))
    here = fma(fma(spread(f4(1.25)), t, spread(f4(-2.25))), square, one)
    last = a * (rest * square)
    return before, here, ((one - before) - here) - last, last


@inlined
def _tap(source: int, at: int, steps: int, step: Lanes) -> Lanes:
    """Read one tap of each lane, ``step`` columns on, of which there are ``steps`` at most."""
    value = load(source, at)
    for s in range(steps):
        value = select(step > spread(f4(s)), load(source, at + s + 1), value)
    return value


@inlined
def _across(source: int, at: int, steps: int, step: Lanes, w: tuple) -> Lanes:
    """Weigh four columns of one row."""
    total = _tap(source, at, steps, step) * w[0]
    total = fma(_tap(source, at + 1, steps, step), w[1], total)
    total = fma(_tap(source, at + 2, steps, step), w[2], total)
    return fma(_tap(source, at + 3, steps, step), w[3], total)


@inlined
def _down(grid: Grid, source: int, at: int, steps: int, step: Lanes, wx: tuple, wy: tuple) -> Lanes:
    """Weigh four columns and four rows where all lanes read the same rows."""
    total = _across(source, at, steps, step, wx) * wy[0]
    total = fma(_across(source, at + grid.row, steps, step, wx), wy[1], total)
    total = fma(_across(source, at + 2 * grid.row, steps, step, wx), wy[2], total)
    return fma(_across(source, at + 3 * grid.row, steps, step, wx), wy[3], total)


@inlined
def _slanting(
    grid: Grid, source: int, at: int, steps: tuple, dx: Lanes, dy: Lanes, wx: tuple, wy: tuple
) -> tuple[Lanes, Lanes, Lanes]:
    """Weigh as ``_down``, all channels, where lanes start up to ``steps[1]`` rows lower."""
    size = source_plane(grid.height, grid.width)
    a = b = c = spread(NOTHING)
    for row in range(steps[1] + 4):
        tap = spread(f4(row)) - dy
        w = select(tap > spread(f4(2.5)), wy[3], select(tap > spread(f4(1.5)), wy[2], wy[1]))
        w = select(tap < spread(HALF), wy[0], w)
        here = (tap > spread(f4(-0.5))) & (tap < spread(f4(3.5)))
        i = at + row * grid.row
        a = select(here, fma(_across(source, i, steps[0], dx, wx), w, a), a)
        b = select(here, fma(_across(source, i + size, steps[0], dx, wx), w, b), b)
        c = select(here, fma(_across(source, i + 2 * size, steps[0], dx, wx), w, c), c)
    return a, b, c


@inlined
def _smooth_block(
    grid: Grid, source: int, at: int, steps: tuple, dx: Lanes, dy: Lanes, wx: tuple, wy: tuple
) -> tuple[Lanes, Lanes, Lanes]:
    """Warp a block of all channels whose lanes start within a few columns and rows."""
    size = source_plane(grid.height, grid.width)
    if steps[1] > 0:
        return _slanting(grid, source, at, steps, dx, dy, wx, wy)
    a = _down(grid, source, at, steps[0], dx, wx, wy)
    b = _down(grid, source, at + size, steps[0], dx, wx, wy)
    return a, b, _down(grid, source, at + 2 * size, steps[0], dx, wx, wy)


@kernel
def _gather(grid: Grid, source: int, floor_x: int, floor_y: int) -> None:
    """Copy a block's taps next to each other; the lanes' whole coordinates lie at the indices."""
    size = source_plane(grid.height, grid.width)
    room = CHANNELS * size
    for lane in range(WIDTH):
        x = min(max(int(get(source, floor_x + lane)), -3), grid.width + 1)
        y = min(max(int(get(source, floor_y + lane)), -3), grid.height + 1)
        at = (y - 1 + MARGIN) * grid.row + WIDTH + x - 1
        for channel in range(CHANNELS):
            for row in range(4):
                i = channel * size + at + row * grid.row
                to = room + (channel * TAPS + row * 4) * WIDTH + lane
                for column in range(4):
                    put(source, to + column * WIDTH, get(source, i + column))


@inlined
def _gathered_down(source: int, at: int, wx: tuple, wy: tuple) -> Lanes:
    """Weigh the gathered taps of one channel."""
    total = spread(NOTHING)
    for row in range(4):
        i = at + 4 * row * WIDTH
        across = load(source, i) * wx[0]
        across = fma(load(source, i + WIDTH), wx[1], across)
        across = fma(load(source, i + 2 * WIDTH), wx[2], across)
        across = fma(load(source, i + 3 * WIDTH), wx[3], across)
        w = wy[0] if row == 0 else wy[1] if row == 1 else wy[2] if row == 2 else wy[3]
        total = fma(across, w, total)
    return total


@kernel
def _warp_block(
    grid: Grid, source: int, x: int, y: int, u: Lanes, v: Lanes
) -> tuple[Lanes, Lanes, Lanes]:
    """Return the frame and its derivatives at x + u, y + v for a block of lanes from x on."""
    to_x, to_y = counted(f4(x)) + u, spread(f4(y)) + v
    floor_x, floor_y = floor(to_x), floor(to_y)
    wx, wy = _weights(to_x - floor_x), _weights(to_y - floor_y)
    moved_x, moved_y = floor_x - counted(f4(x)), floor_y
    left, top = first_lane(moved_x), first_lane(moved_y)
    columns = rows = 0
    if any_lane((moved_x != spread(left)) | (moved_y != spread(top))):
        left, top = smallest(moved_x), smallest(moved_y)
        columns = int(largest(moved_x) - left)
        rows = int(largest(moved_y) - top)
    start_x, start_y = x + int(left) - 1, int(top) - 1
    inside = start_x >= -WIDTH and start_x + columns + WIDTH + 3 <= grid.width + WIDTH
    inside = inside and start_y >= -MARGIN and start_y + rows + 3 < grid.height + MARGIN
    if inside and (rows + 4) * (columns + 1) <= SPREAD_LIMIT:
        at = (start_y + MARGIN) * grid.row + WIDTH + start_x
        dx, dy = moved_x - spread(left), moved_y - spread(top)
        if columns == 0:
            return _smooth_block(grid, source, at, (0, rows), dx, dy, wx, wy)
        if columns == 1:
            return _smooth_block(grid, source, at, (1, rows), dx, dy, wx, wy)
        return _smooth_block(grid, source, at, (columns, rows), dx, dy, wx, wy)
    room = CHANNELS * source_plane(grid.height, grid.width)
    end = room + CHANNELS * TAPS * WIDTH
    store(source, end, floor_x)
    store(source, end + WIDTH, floor_y)
    _gather(grid, source, end, end + WIDTH)
    a = _gathered_down(source, room, wx, wy)
    b = _gathered_down(source, room + TAPS * WIDTH, wx, wy)
    return a, b, _gathered_down(source, room + 2 * TAPS * WIDTH, wx, wy)


@inlined
def _still_block(grid: Grid, source: int, x: int, y: int) -> tuple[Lanes, Lanes, Lanes]:
    """Return what a warp of a block without motion comes to: weights of 0 and 1."""
    size = source_plane(grid.height, grid.width)
    at = (y + MARGIN) * grid.row + WIDTH + x
    return load(source, at), load(source, at + size), load(source, at + 2 * size)


@inlined
def _far(x: Lanes) -> bool:
    """Return whether a displacement is not finite or too large to be exact here."""
    return any_lane((x > spread(FAR)) | (x < spread(-FAR)) | (x != x))


@kernel
def warp_and_linearise(grid: Grid, source: int, state: int) -> bool:
    """Fill one warp's constants from the flow of a state.

    Returns False, with the constants half filled, where a displacement is not finite or
    beyond reason. The image must be at least a block wide.
    """
    w, size = grid.w, grid.size
    flow = STATES[state] * size
    for y in range(grid.height):
        for start in range(0, grid.width, WIDTH):
            # The last block overlaps the one before, so that all lanes are pixels.
            x = min(start, grid.width - WIDTH)
            at = (y + 1) * grid.row + WIDTH + x
            u, v = load(w, flow + U * size + at), load(w, flow + V * size + at)
            if _far(u) or _far(v):
                return False
            if any_lane((u != spread(ZERO)) | (v != spread(ZERO))):
                image, ix, iy = _warp_block(grid, source, x, y, u, v)
            else:
                image, ix, iy = _still_block(grid, source, x, y)
            store(w, IX * size + at, ix)
            store(w, IY * size + at, iy)
            store(w, GRAD * size + at, ix * ix + iy * iy)
            rho = ((image - ix * u) - iy * v) - load(w, I0 * size + at)
            store(w, RHO * size + at, rho)
    return True

"""The median filter of the flow as a Triton kernel part.

Strips as in `model.tvl1.cuda.iterate`: a lane sorts its own column of 3 or 5 values, takes its
neighbours' sorted columns by warp shuffles and sorts the ranks across. In a square whose
columns and rows are sorted, few places can hold the median; for 5 x 5 those are the middle
anti-diagonal and its two neighbours, and the median of all is the median of three numbers:
the largest of the lower diagonal, the median of the middle one, the least of the upper one.
"""

# The arguments and tuples of these functions are Triton's, which Python's checkers do not know.
# mypy: disable-error-code="no-untyped-def, assignment"
# ruff: noqa: RUF005
from __future__ import annotations

import triton
import triton.language as tl

from model.tvl1.cuda.iterate import LANES


@triton.jit
def _ordered(a, b):
    return tl.minimum(a, b), tl.maximum(a, b)


@triton.jit
def _median3(a, b, c):
    return tl.maximum(tl.minimum(a, b), tl.minimum(tl.maximum(a, b), c))


@triton.jit
def _sort3(a, b, c):
    a, b = _ordered(a, b)
    b, c = _ordered(b, c)
    a, b = _ordered(a, b)
    return a, b, c


@triton.jit
def _sort5(a, b, c, d, e):
    """Sort by nine exchanges, the fewest that sort five."""
    a, d = _ordered(a, d)
    b, e = _ordered(b, e)
    a, c = _ordered(a, c)
    b, d = _ordered(b, d)
    a, b = _ordered(a, b)
    c, e = _ordered(c, e)
    b, c = _ordered(b, c)
    d, e = _ordered(d, e)
    c, d = _ordered(c, d)
    return a, b, c, d, e


@triton.jit
def _across3(rank, by):
    return tl.gather(rank, by[1], 1), rank, tl.gather(rank, by[2], 1)


@triton.jit
def _across5(rank, by):
    before, here, after = _across3(rank, by)
    return tl.gather(rank, by[0], 1), before, here, after, tl.gather(rank, by[3], 1)


@triton.jit
def _median9(column, by):
    a, b, c = _sort3(column[0], column[1], column[2])
    a0, a1, a2 = _across3(a, by)
    b0, b1, b2 = _across3(b, by)
    c0, c1, c2 = _across3(c, by)
    largest = tl.maximum(tl.maximum(a0, a1), a2)
    least = tl.minimum(tl.minimum(c0, c1), c2)
    return _median3(largest, _median3(b0, b1, b2), least)


@triton.jit
def _median25(column, by):
    a, b, c, d, e = _sort5(column[0], column[1], column[2], column[3], column[4])
    a0, a1, a2, a3, a4 = _across5(a, by)
    b0, b1, b2, b3, b4 = _across5(b, by)
    c0, c1, c2, c3, c4 = _across5(c, by)
    d0, d1, d2, d3, d4 = _across5(d, by)
    e0, e1, e2, e3, e4 = _across5(e, by)
    a0, a1, a2, a3, a4 = _sort5(a0, a1, a2, a3, a4)
    b0, b1, b2, b3, b4 = _sort5(b0, b1, b2, b3, b4)
    c0, c1, c2, c3, c4 = _sort5(c0, c1, c2, c3, c4)
    d0, d1, d2, d3, d4 = _sort5(d0, d1, d2, d3, d4)
    e0, e1, e2, e3, e4 = _sort5(e0, e1, e2, e3, e4)
    largest = tl.maximum(tl.maximum(a3, b2), tl.maximum(c1, d0))
    least = tl.minimum(tl.minimum(b4, c3), tl.minimum(d2, e1))
    return _median3(largest, _sort5(a4, b3, c2, d1, e0)[2], least)


@triton.jit
def _read_clamped(image, y, x, height, width):
    y = tl.minimum(tl.maximum(y, 0), height - 1)
    # Lanes run along x: said so, because without it Triton 3.6 moves the loaded values about.
    x = tl.max_contiguous(tl.minimum(tl.maximum(x, 0), width - 1), (1, 2))
    return tl.load(image + y * width + x)


@triton.jit
def median_filter(
    source, target, height, width, strips, chunks, chunk_rows, S: tl.constexpr, SIDE: tl.constexpr
):
    """Filter one plane by the median of `SIDE` x `SIDE` values, edges replicated.

    Parameters
    ----------
    source, target : pointer to float32 (height, width)
        Read and written; must not overlap.
    strips, chunks, chunk_rows : int
        How the image is cut, for strips that overlap by ``SIDE - 1`` columns.
    S, SIDE : constexpr
        Strips at a time; 3 or 5.
    """
    R: tl.constexpr = SIDE // 2
    lane = tl.arange(0, LANES)[None, :]
    slot = tl.arange(0, S)[:, None]
    full = tl.zeros((S, LANES), tl.int32)
    by = (
        tl.maximum(lane - 2, 0) + full,
        tl.maximum(lane - 1, 0) + full,
        tl.minimum(lane + 1, LANES - 1) + full,
        tl.minimum(lane + 2, LANES - 1) + full,
    )
    for item in range(0, strips * chunks, S):
        strip = (item + slot) % strips
        chunk = (item + slot) // strips
        x = strip * (LANES - 2 * R) - R + lane
        top = chunk * chunk_rows
        end = tl.minimum(top + chunk_rows, height)
        owned = (chunk < chunks) & (lane >= R) & (lane < LANES - R) & (x < width)
        column = ()
        for i in tl.static_range(SIDE - 1):
            column = column + (_read_clamped(source, top - R + i, x, height, width),)
        for t in range(chunk_rows):
            y = top + t
            column = column + (_read_clamped(source, y + R, x, height, width),)
            middle = _median9(column, by) if SIDE == 3 else _median25(column, by)
            tl.store(target + y * width + x, middle, owned & (y < end))
            column = column[1:]

"""A 5x5 median filter in place, with the values of ``cv2.medianBlur``.

A median selects: its value does not depend on the order of comparisons, except for NaN and
the sign of zero; planes that hold NaN or -0 are left to OpenCV. Two rows are filtered at a time.
They share four rows of their windows: each column of these is sorted once for all windows,
and each two neighbouring columns are merged once. Of the 20 values that two windows share,
the 7 smallest and the 7 largest cannot be the median of 25; the other 6 are merged with
each window's own row of 5. That makes 79 minima and maxima a block instead of the 198 of the
usual network. (Sharing sorted columns: Adams, "Fast Median Filters using Separable Sorting
Networks", SIGGRAPH 2021, doi:10.1145/3450626.3459773.) Where the processor is faster with
integers, the kept rows hold bits that sort as such.
"""

from __future__ import annotations

from numba.extending import register_jitable

from model.tvl1.cpu.kernels import ZERO, inlined
from model.tvl1.cpu.lanes import (
    WIDTH,
    Lanes,
    any_lane,
    get,
    lane_before,
    load,
    put,
    select,
    spread,
    store,
)
from model.tvl1.cpu.order import (
    larger,
    larger_bits,
    odd_value,
    smaller,
    smaller_bits,
    sortable,
)
from model.tvl1.cpu.processor import HAS_FAST_INTEGERS
from model.tvl1.cpu.sweep import Grid, kernel, row_length

# Rows kept as they were before filtering; the two next to the border are replicated.
RING = 8
# Pixels of a row that are filtered together, so that what they share stays in the cache.
STRIP = 64
_PART = STRIP + 3 * WIDTH
_SORTED, _MERGED = 4, 8

_lower, _higher = (smaller_bits, larger_bits) if HAS_FAST_INTEGERS else (smaller, larger)


@register_jitable
def median_length(width: int) -> int:
    """Return the float32 of room that the filter needs."""
    return RING * row_length(width) + (_SORTED + _MERGED) * _PART


@inlined
def _recoded(values: Lanes) -> Lanes:
    """Turn values to what is filtered, and back."""
    return sortable(values) if HAS_FAST_INTEGERS else values


@inlined
def _order(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    return _lower(a, b), _higher(a, b)


@inlined
def _merge2(a: tuple, b: tuple) -> tuple:
    """Merge two sorted pairs."""
    first, low = _order(a[0], b[0])
    high, last = _order(a[1], b[1])
    low, high = _order(low, high)
    return first, low, high, last


@inlined
def _merge4(a: tuple, b: tuple) -> tuple:
    """Merge two sorted fours (Batcher's odd-even merge)."""
    odd = _merge2((a[0], a[2]), (b[0], b[2]))
    even = _merge2((a[1], a[3]), (b[1], b[3]))
    s1, s2 = _order(odd[1], even[0])
    s3, s4 = _order(odd[2], even[1])
    s5, s6 = _order(odd[3], even[2])
    return odd[0], s1, s2, s3, s4, s5, s6, even[3]


@inlined
def _middle_of_16(a: tuple, b: tuple) -> tuple:
    """Return the 4th to 13th of two sorted eights, sorted."""
    odd = _merge4((a[0], a[2], a[4], a[6]), (b[0], b[2], b[4], b[6]))
    even = _merge4((a[1], a[3], a[5], a[7]), (b[1], b[3], b[5], b[7]))
    s0, s1 = _order(odd[2], even[1])
    s2, s3 = _order(odd[3], even[2])
    s4, s5 = _order(odd[4], even[3])
    s6, s7 = _order(odd[5], even[4])
    s8, s9 = _order(odd[6], even[5])
    return s0, s1, s2, s3, s4, s5, s6, s7, s8, s9


@inlined
def _sort_bitonic4(a: Lanes, b: Lanes, c: Lanes, d: Lanes) -> tuple:
    """Sort four values that rise and then fall, or fall and then rise."""
    a, c = _order(a, c)
    b, d = _order(b, d)
    a, b = _order(a, b)
    c, d = _order(c, d)
    return a, b, c, d


@inlined
def _middle_of_20(s: tuple, c: tuple) -> tuple:
    """Return the 8th to 13th of all, given the middle ten of 16 and four more, both sorted."""
    # Without the four smallest of the fourteen.
    h = _sort_bitonic4(
        _higher(s[0], c[3]), _higher(s[1], c[2]), _higher(s[2], c[1]), _higher(s[3], c[0])
    )
    # Without the four largest of these.
    m = _sort_bitonic4(
        _lower(s[6], h[3]), _lower(s[7], h[2]), _lower(s[8], h[1]), _lower(s[9], h[0])
    )
    # These four and the two in between, merged.
    t, o2 = _order(m[2], s[4])
    o0, o1 = _order(m[0], t)
    t, e2 = _order(m[3], s[5])
    e0, e1 = _order(m[1], t)
    o1, e0 = _order(o1, e0)
    o2, e1 = _order(o2, e1)
    return o0, o1, e0, o2, e1, e2


@inlined
def _sort5(a: Lanes, b: Lanes, c: Lanes, d: Lanes, e: Lanes) -> tuple:
    a, b = _order(a, b)
    d, e = _order(d, e)
    c, e = _order(c, e)
    c, d = _order(c, d)
    b, e = _order(b, e)
    a, d = _order(a, d)
    a, c = _order(a, c)
    b, d = _order(b, d)
    b, c = _order(b, c)
    return a, b, c, d, e


@inlined
def _sixth_of_11(t: tuple, e: tuple) -> Lanes:
    """Return the middle of six and five sorted values."""
    low = _lower(_higher(t[0], e[4]), _higher(t[1], e[3]))
    low = _lower(low, _lower(_higher(t[2], e[2]), _higher(t[3], e[1])))
    return _lower(low, _lower(_higher(t[4], e[0]), t[5]))


@inlined
def _own_row(w: int, at: int) -> tuple:
    """Return the five values around each lane of a row, sorted."""
    return _sort5(load(w, at - 2), load(w, at - 1), load(w, at), load(w, at + 1), load(w, at + 2))


@inlined
def _read4(w: int, at: int) -> tuple:
    return (
        load(w, at), load(w, at + _PART), load(w, at + 2 * _PART), load(w, at + 3 * _PART),
    )  # fmt: skip


@inlined
def _read8(w: int, at: int) -> tuple:
    a, b = _read4(w, at), _read4(w, at + 4 * _PART)
    return a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]


@kernel
def _sort_columns(w: int, rows: tuple, room: int, start: int, width: int) -> None:
    """Sort each column of four rows, and merge each two neighbours, for windows from start on.

    Column ``start - 2`` becomes the first of the room's rows.
    """
    for x in range(0, width + 4, WIDTH):
        i = start - 2 + x
        a, b = _order(load(w, rows[1] + i), load(w, rows[2] + i))
        c, d = _order(load(w, rows[3] + i), load(w, rows[4] + i))
        a, c = _order(a, c)
        b, d = _order(b, d)
        b, c = _order(b, c)
        store(w, room + x, a)
        store(w, room + _PART + x, b)
        store(w, room + 2 * _PART + x, c)
        store(w, room + 3 * _PART + x, d)
    merged = room + _SORTED * _PART
    for x in range(0, width + 3, WIDTH):
        m = _merge4(_read4(w, room + x), _read4(w, room + x + 1))
        store(w, merged + x, m[0])
        store(w, merged + _PART + x, m[1])
        store(w, merged + 2 * _PART + x, m[2])
        store(w, merged + 3 * _PART + x, m[3])
        store(w, merged + 4 * _PART + x, m[4])
        store(w, merged + 5 * _PART + x, m[5])
        store(w, merged + 6 * _PART + x, m[6])
        store(w, merged + 7 * _PART + x, m[7])


@inlined
def _put_inside(w: int, at: int, value: Lanes, left: int) -> None:
    """Write the lanes that are pixels, of which there are ``left``."""
    value = _recoded(value)
    if left < WIDTH:
        value = select(lane_before(left), value, load(w, at))
    store(w, at, value)


@kernel
def _still(w: int, rows: tuple, start: int, width: int) -> bool:
    """Return whether all windows from start on hold only 0, so that nothing changes."""
    for x in range(0, width + 4, WIDTH):
        i = start - 2 + x
        for row in range(6):
            if any_lane(load(w, rows[row] + i) != spread(ZERO)):
                return False
    return True


@kernel
def _filter_two_rows(w: int, rows: tuple, room: int, out: int, below: int, width: int) -> None:
    """Filter two rows; ``rows`` are the six of their windows.

    The lower one, ``below``, is written before the upper one, ``out``.
    """
    for start in range(0, width, STRIP):
        part = min(STRIP, width - start)
        if _still(w, rows, start, part):
            continue
        _sort_columns(w, rows, room, start, part)
        merged = room + _SORTED * _PART
        for x in range(0, part, WIDTH):
            s = _middle_of_16(_read8(w, merged + x), _read8(w, merged + x + 3))
            t = _middle_of_20(s, _read4(w, room + x + 2))
            i, left = start + x, part - x
            _put_inside(w, below + i, _sixth_of_11(t, _own_row(w, rows[5] + i)), left)
            _put_inside(w, out + i, _sixth_of_11(t, _own_row(w, rows[0] + i)), left)


@kernel
def _keep_row(grid: Grid, plane: int, ring: int, y: int) -> None:
    """Copy a row to the ring, with two replicated pixels on either side."""
    w = grid.w
    at = plane + (y + 1) * grid.row + WIDTH
    to = ring + y % RING * grid.row + WIDTH
    for x in range(0, grid.width, WIDTH):
        store(w, to + x, _recoded(load(w, at + x)))
    for i in range(1, 3):
        put(w, to - i, get(w, to))
        put(w, to + grid.width - 1 + i, get(w, to + grid.width - 1))


@kernel
def ordinary(grid: Grid, plane: int) -> bool:
    """Return whether a plane's pixels hold neither NaN nor -0."""
    for y in range(grid.height):
        at = plane + (y + 1) * grid.row + WIDTH
        for x in range(0, grid.width, WIDTH):
            odd = odd_value(load(grid.w, at + x))
            if any_lane(odd & lane_before(grid.width - x)):
                return False
    return True


@kernel
def median5(grid: Grid, plane: int, ring: int) -> None:
    """Filter the plane that starts at an index, in place; ``ring`` is where the room starts.

    At the border the outermost pixels are replicated, as OpenCV does.
    """
    height, row = grid.height, grid.row
    room = ring + RING * row
    kept = 0
    for y in range(0, height, 2):
        while kept < min(y + 4, height):
            _keep_row(grid, plane, ring, kept)
            kept += 1
        first, last = ring + WIDTH, height - 1
        rows = (
            first + max(y - 2, 0) % RING * row,
            first + max(y - 1, 0) % RING * row,
            first + y % RING * row,
            first + min(y + 1, last) % RING * row,
            first + min(y + 2, last) % RING * row,
            first + min(y + 3, last) % RING * row,
        )
        out = plane + (y + 1) * row + WIDTH
        # Of an odd number of rows the last is filtered alone, and written last.
        below = out + row if y < last else out
        _filter_two_rows(grid.w, rows, room, out, below, grid.width)

"""The numba engine's own median and warp must have the bits of OpenCV's, or step aside."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numba import njit

from model.tvl1 import engines, opencv
from model.tvl1.cpu import calc as engine
from model.tvl1.cpu import solver
from model.tvl1.cpu.calc import Level, calc, workspace
from model.tvl1.cpu.kernels import fast_hypot
from model.tvl1.cpu.lanes import WIDTH, load, select, spread, store
from model.tvl1.cpu.order import larger_bits, smaller_bits, sortable
from model.tvl1.cpu.processor import HAS_FMA
from model.tvl1.cpu.sweep import GRAD, IX, IY, RHO
from tests.model.tvl1.test_tvl1_identity import assert_same_bits, moving_pair

EXACT = engines.identity("numba")["guarantee"] == "bit-identical"
needs_exact = pytest.mark.skipif(
    not EXACT, reason="OpenCV rounds its cubic warp otherwise on this machine; ours is not used"
)


def make_level(height: int, width: int, seed: int = 0) -> Level:
    """Return a level of noise, in a workspace full of NaN."""
    rng = np.random.default_rng(seed)
    work = workspace(height, width)
    work[:] = np.nan
    first, second = rng.uniform(0, 255, (2, height, width)).astype(np.float32)
    return Level(first, second, work)


def make_field(height: int, width: int, kind: str, seed: int = 0) -> np.ndarray:
    """Return (H, W) float32 values of one kind, without -0."""
    rng = np.random.default_rng(seed)
    field = rng.normal(0, 1, (height, width)).astype(np.float32)
    if kind == "ties":
        return np.rint(field) + np.float32(0)
    if kind == "subnormal":
        return np.abs(field) * np.float32(1e-42)
    if kind == "smooth":
        return cv2.GaussianBlur(field, (0, 0), 2.0) + np.float32(0)
    return field


def medians_apart(at: Level, fields: tuple[np.ndarray, np.ndarray], side: int) -> int:
    """Filter two fields as a level's flow; return how many values have other bits."""
    wanted = [cv2.medianBlur(field, side) if side > 1 else field for field in fields]
    flow = at.flow(0)
    for plane, field in zip(flow, fields, strict=True):
        plane[:] = field
    at.smooth(0, side)
    return sum(
        int((np.ascontiguousarray(plane).view(np.uint32) != want.view(np.uint32)).sum())
        for plane, want in zip(flow, wanted, strict=True)
    )


SIZES = [
    (2, 2), (2, 3), (3, 2), (4, 5), (5, 4), (6, 7), (7, 15), (8, 16), (9, 17), (31, 33),
    (5, 255), (6, 256), (7, 257), (6, 259), (5, 530),
]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("kind", ["rough", "smooth", "ties", "subnormal"])
def test_median(height: int, width: int, kind: str) -> None:
    """Breaks if a comparison is missing, or a border, strip or odd last row is filtered wrongly."""
    at = make_level(height, width)
    fields = make_field(height, width, kind, 1), make_field(height, width, kind, 2)
    assert medians_apart(at, fields, 5) == 0


def test_median_of_every_order_of_zeros_and_ones() -> None:
    """Breaks if any input is sorted wrongly: a selection that is right on 0 and 1 always is.

    Random windows of each number of ones; a wrong rank shows where 12 or 13 of 25 are ones.
    """
    rng = np.random.default_rng(4)
    height, width = 60, 300
    share = rng.choice([0.4, 0.48, 0.52, 0.6], (height // 5, width // 5)).repeat(5, 0).repeat(5, 1)
    at = make_level(height, width)
    fields = tuple((rng.random((height, width)) < share).astype(np.float32) for _ in range(2))
    assert medians_apart(at, fields, 5) == 0


@pytest.mark.parametrize("side", [1, 3])
def test_other_medians(side: int) -> None:
    """Breaks if another size of the filter is taken for 5."""
    fields = make_field(20, 37, "rough", 1), make_field(20, 37, "rough", 2)
    assert medians_apart(make_level(20, 37), fields, side) == 0


@pytest.mark.parametrize("value", [-0.0, np.nan], ids=["minus zero", "nan"])
@pytest.mark.parametrize("component", [0, 1])
def test_median_of_odd_values(value: float, component: int) -> None:
    """Breaks if -0 or NaN is filtered in another order of comparisons than OpenCV's."""
    fields = make_field(30, 40, "ties", 1), make_field(30, 40, "ties", 2)
    fields[component][29, 30:] = value
    fields[component][10:12, 5:25] = value
    assert medians_apart(make_level(30, 40), fields, 5) == 0


def constants_apart(at: Level, u: np.ndarray, v: np.ndarray) -> int:
    """Warp by a flow with both implementations; return how many constants have other bits."""
    planes = [at.plane(number) for number in (IX, IY, GRAD, RHO)]
    flow = at.flow(0)
    flow[0][:], flow[1][:] = u, v
    at.warp(0)
    ours = [plane.copy().view(np.uint32) for plane in planes]
    for plane in planes:
        plane[:] = 0
    at.warp_with_opencv(0)
    theirs = [np.ascontiguousarray(plane).view(np.uint32) for plane in planes]
    return sum(int((a != b).sum()) for a, b in zip(ours, theirs, strict=True))


@needs_exact
@pytest.mark.parametrize(
    ("height", "width"), [(2, 16), (3, 17), (16, 16), (19, 33), (40, 47), (33, 130)]
)
@pytest.mark.parametrize(
    ("blur", "amplitude"),
    [(0, 0.0), (9, 1e-4), (9, 0.6), (6, 3.0), (2, 2.0), (0, 8.0), (6, 60.0), (0, 5e5)],
)
def test_warp(height: int, width: int, blur: int, amplitude: float) -> None:
    """Breaks if blocks that move as one, by steps, by rows, apart or out of the image differ."""
    rng = np.random.default_rng(height)
    flow = rng.normal(0, 1, (2, height, width)).astype(np.float32)
    if blur:
        flow = np.stack([cv2.GaussianBlur(f, (0, 0), blur) for f in flow])
    u, v = flow / max(float(flow.std()), 1e-9) * np.float32(amplitude)
    at = make_level(height, width)
    assert engine._warps_as_opencv()
    assert constants_apart(at, u, v) == 0


@needs_exact
@pytest.mark.parametrize("direction", [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1)])
@pytest.mark.parametrize("distance", [0, 1, 2, 3, 4, 5, 14, 17, 40])
def test_warp_over_every_edge(direction: tuple[int, int], distance: int) -> None:
    """Breaks if taps outside the image are not zero, or a block at an edge reads beyond them."""
    v, u = (np.full((21, 35), d * (distance + 0.3), np.float32) for d in direction)
    assert constants_apart(make_level(21, 35), u, v) == 0


@needs_exact
@pytest.mark.parametrize("value", [np.nan, np.inf, -3e9, 2e6])
def test_warp_beyond_reason(value: float) -> None:
    """Breaks if a flow that ran away is converted to a wrong place instead of left to OpenCV."""
    u = np.zeros((20, 40), np.float32)
    u[7, 30] = value
    assert constants_apart(make_level(20, 40), u, np.zeros_like(u)) == 0


@njit
def extremes(w: int, y: int, low: int, high: int, count: int) -> None:
    """Write the smaller and the larger of each of the first values and those at y."""
    for i in range(0, count, WIDTH):
        a, b = sortable(load(w, i)), sortable(load(w, y + i))
        store(w, low + i, sortable(smaller_bits(a, b)))
        store(w, high + i, sortable(larger_bits(a, b)))


def test_order_of_bits() -> None:
    """Breaks if a float is sorted wrongly as an integer: negative, subnormal, infinite ones."""
    rng = np.random.default_rng(6)
    count = 2**12
    room = np.zeros((4, count), np.float32)
    room[:2] = rng.normal(0, 1, (2, count)) * 2.0 ** rng.integers(-149, 120, (2, count))
    room[:2][room[:2] == 0] = 0.0  # A median over -0 is OpenCV's.
    room[0, :100], room[1, 50:150], room[0, 200:300] = np.inf, -np.inf, room[1, 200:300]
    extremes(room.ctypes.data, count, 2 * count, 3 * count, count)
    assert_same_bits(room[2], np.minimum(room[0], room[1]))
    assert_same_bits(room[3], np.maximum(room[0], room[1]))


@njit
def roots(w: int, x: int, y: int, result: int, count: int) -> None:
    """Write the fast root of blocks of x and y, NaN where it is not certain."""
    for i in range(0, count, WIDTH):
        h, unsure = fast_hypot(load(w, x + i), load(w, y + i))
        store(w, result + i, select(unsure, spread(np.float32(np.nan)), h))


@pytest.mark.skipif(not HAS_FMA, reason="the fast root is used with fused multiply-add only")
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e4, 1e18])
def test_fast_root(scale: float) -> None:
    """Breaks if a root that is called certain is not the double root, rounded.

    Both components have all ratios of size, some are 0 or equal.
    """
    rng = np.random.default_rng(5)
    count = 2**20
    room = np.empty((3, count), np.float32)
    room[:2] = rng.normal(0, scale, (2, count)) * 2.0 ** -rng.integers(0, 30, (2, count))
    room[0, :1000], room[1, 500:1500], room[1, 2000:9000] = 0, 0, room[0, 2000:9000]
    roots(room.ctypes.data, 0, count, 2 * count, count)
    exact = np.hypot(room[0].astype(np.float64), room[1])
    # Under 2^-38 a root may be wrong: it does not change 1 + ta·h.
    h, exact = room[2][exact >= 2.0**-38], exact[exact >= 2.0**-38]
    certain = ~np.isnan(h)
    assert certain.mean() > 0.99
    np.testing.assert_array_equal(h[certain], exact.astype(np.float32)[certain])


def test_opencvs_steps_give_the_same_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if the way without our warp and median, as on other machines, is wrong."""
    i0, i1 = moving_pair(50, 66)
    ours = calc(i0, i1)
    monkeypatch.setattr(engine, "_warps_as_opencv", lambda: False)
    monkeypatch.setattr(solver, "smooth", lambda *_: False)
    theirs = calc(i0, i1)
    if EXACT:
        assert_same_bits(theirs, opencv.calc(i0, i1))
        assert_same_bits(ours, theirs)


def test_nothing_left_in_the_workspace_matters() -> None:
    """Breaks if a call reads what an earlier one of this thread has left in memory."""
    i0, i1 = moving_pair(50, 66)
    expected = calc(i0, i1)
    for left in (np.nan, 1e30, -7.0):
        engine._own_workspace(50, 66)[:] = left
        assert_same_bits(calc(i0, i1), expected)


@needs_exact
def test_partly_still_frames() -> None:
    """Breaks if blocks and windows without motion, which are skipped, should have changed."""
    i0, i1 = moving_pair(90, 260)
    still = np.full((90, 260), 100, np.uint8)
    still[::7, ::5] = 180
    first, second = still.copy(), still.copy()
    first[30:50, 100:130], second[30:50, 100:130] = i0[30:50, 100:130], i1[30:50, 100:130]
    second[70, 200] += 9
    assert_same_bits(calc(first, second), opencv.calc(first, second))


def test_another_warp_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if an OpenCV that rounds its warp otherwise would be taken for the one we follow."""
    remap = cv2.remap

    def rounding(source, x, y, mode, dst):
        """Round coordinates to 1/32 px, as OpenCV 4 does."""
        return remap(source, np.rint(x * 32) / 32, np.rint(y * 32) / 32, mode, dst=dst)

    monkeypatch.setattr(cv2, "remap", rounding)
    assert not engine._warps_as_opencv.__wrapped__()

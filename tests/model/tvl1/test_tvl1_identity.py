"""The numba TV-L1 engine must equal OpenCV's result to the bit: sizes, parameters, processors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from model.tvl1 import engines, frames, opencv
from model.tvl1.cpu.calc import calc
from model.tvl1.options import TVL1Options
from tests.helpers.places import ROOT

EXACT = engines.identity("numba")["guarantee"] == "bit-identical"
needs_exact = pytest.mark.skipif(
    not EXACT, reason="bit-identity holds for OpenCV 5 on x86-64 only; the gate is tested instead"
)


def moving_pair(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a textured scene before and after a shift, turn and zoom, with camera noise."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 255, (height + 40, width + 40)).astype(np.float32)
    scene = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)
    motion = np.array([[1.01, 0.02, 1.5], [-0.02, 1.01, -1.5]], np.float32)
    moved = cv2.warpAffine(scene, motion, scene.shape[::-1], flags=cv2.INTER_CUBIC)
    inside = np.s_[20 : 20 + height, 20 : 20 + width]
    second = moved[inside] + rng.normal(0, 1, (height, width))
    return tuple(np.clip(i, 0, 255).astype(np.uint8) for i in (scene[inside], second))


def raw_opencv(i0: np.ndarray, i1: np.ndarray, options: TVL1Options) -> np.ndarray:
    """Run OpenCV's class directly, so that our wrapper cannot hide a difference."""
    solver = cv2.optflow.DualTVL1OpticalFlow_create(
        options.tau, options.lam, options.theta, options.scales, options.warps, options.epsilon,
        options.inner, options.outer, options.scale_step, 0.0, options.median, False,
    )  # fmt: skip
    return solver.calc(i0, i1, None)


def assert_same_bits(flow: np.ndarray, reference: np.ndarray) -> None:
    assert flow.dtype == reference.dtype == np.float32
    assert flow.shape == reference.shape
    np.testing.assert_array_equal(flow.view(np.uint32), reference.view(np.uint32))


SIZES = [
    (2, 2), (2, 9), (9, 2), (3, 3), (5, 31), (15, 15), (16, 16), (17, 16), (16, 17), (19, 20),
    (20, 20), (21, 33), (33, 47), (31, 130), (64, 64), (65, 127), (90, 121),
]  # fmt: skip


@needs_exact
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_sizes(height: int, width: int) -> None:
    """Breaks if an edge, a padded lane, or the 16 px pyramid limit is handled otherwise."""
    i0, i1 = moving_pair(height, width, seed=height)
    options = TVL1Options()
    assert_same_bits(calc(i0, i1, options), raw_opencv(i0, i1, options))


CHANGES: list[dict[str, float]] = [
    {"tau": 0.1}, {"tau": 0.4}, {"lam": 0.05}, {"lam": 0.5}, {"theta": 0.1}, {"theta": 0.7},
    {"epsilon": 0.001}, {"epsilon": 0.1}, {"epsilon": 0.0, "warps": 2, "outer": 2},
    {"warps": 1}, {"warps": 9}, {"scales": 1}, {"scales": 9}, {"scale_step": 0.5},
    {"scale_step": 0.7}, {"scale_step": 0.93}, {"inner": 1}, {"inner": 7}, {"outer": 1},
    {"outer": 3}, {"median": 1}, {"median": 3},
]  # fmt: skip


@needs_exact
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_parameter(change: dict[str, float]) -> None:
    """Breaks if a parameter is ignored, rounded in another order, or stops elsewhere."""
    i0, i1 = moving_pair(61, 83)
    options = replace(TVL1Options(), **change)
    assert_same_bits(calc(i0, i1, options), raw_opencv(i0, i1, options))


@needs_exact
@pytest.mark.parametrize(
    "change", [{"tau": 9.0}, {"theta": 0.001}, {"theta": 1e-5}, {"lam": 50.0}], ids=str
)
def test_unstable_parameters(change: dict[str, float]) -> None:
    """Breaks if the fast root is trusted beyond its proven range, where the flow runs away."""
    i0, i1 = moving_pair(40, 52)
    options = replace(TVL1Options(scales=2, warps=2), **change)
    np.testing.assert_array_equal(calc(i0, i1, options), raw_opencv(i0, i1, options))


@needs_exact
def test_static_background() -> None:
    """Breaks if tiny and subnormal values, which spread into still areas, are rounded wrong."""
    i0, i1 = moving_pair(72, 96)
    still = i0.copy()
    still[:, 40:] = 128
    moved = still.copy()
    moved[20:50, 8:30] = i1[20:50, 8:30]
    options = TVL1Options(epsilon=0.0, warps=2)
    assert_same_bits(calc(still, moved, options), raw_opencv(still, moved, options))


@needs_exact
def test_unrelated_noise() -> None:
    """Breaks if large, rough flows (many clipped residuals, far warps) leave the exact path."""
    rng = np.random.default_rng(3)
    i0, i1 = rng.integers(0, 256, (2, 70, 81)).astype(np.uint8)
    options = TVL1Options()
    assert_same_bits(calc(i0, i1, options), raw_opencv(i0, i1, options))


@needs_exact
@pytest.mark.parametrize(
    ("cpu", "features"),
    [("haswell", "+avx,+avx2,+fma,+sse4.2,+popcnt"), ("nehalem", "+sse4.2")],
    ids=["avx2", "without fused multiply-add"],
)
def test_other_processors(cpu: str, features: str, tmp_path: Path) -> None:
    """Breaks if the result depends on the width of registers or on fused multiply-add."""
    i0, i1 = moving_pair(33, 47)
    np.savez(tmp_path / "pair.npz", i0=i0, i1=i1)
    code = (
        "import sys, numpy as np\n"
        "from model.tvl1.cpu.calc import calc\n"
        "p = np.load(sys.argv[1])\n"
        "np.save(sys.argv[2], calc(p['i0'], p['i1']))\n"
    )
    environment = os.environ | {
        "NUMBA_CPU_NAME": cpu,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", code, tmp_path / "pair.npz", tmp_path / "flow.npy"]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    assert_same_bits(np.load(tmp_path / "flow.npy"), raw_opencv(i0, i1, TVL1Options()))


@pytest.mark.skipif(EXACT, reason="bit-identity is tested, which is more")
def test_gate_elsewhere() -> None:
    """Breaks if a port differs from OpenCV by more than OpenCV's own sensitivity to noise."""
    i0, i1 = moving_pair(128, 170)
    flow, reference = calc(i0, i1), raw_opencv(i0, i1, TVL1Options())
    # Mean 0.03 px and 99 % within one 8-bit level: just under what OpenCV itself moves when
    # its frames get 0.01 grey levels of noise (0.037 px and 98.6 % on real clips).
    assert np.linalg.norm(flow - reference, axis=-1).mean() <= 0.03
    levels = [np.rint(np.clip((f + 20) * 255 / 40, 0, 255)) for f in (flow, reference)]
    assert (np.abs(levels[0] - levels[1]) <= 1).mean() >= 0.99


def test_wrapper_changes_nothing() -> None:
    """Breaks if the opencv engine passes a parameter wrongly or keeps state between sizes."""
    options = TVL1Options(tau=0.2, lam=0.2, theta=0.25, scales=4, warps=2, inner=9, outer=3)
    for height, width in ((20, 22), (70, 60)):
        i0, i1 = moving_pair(height, width)
        assert_same_bits(opencv.calc(i0, i1, options), raw_opencv(i0, i1, options))


def test_repeated_calls_agree() -> None:
    """Breaks if a call reads what an earlier one left behind, as after a smaller frame."""
    i0, i1 = moving_pair(50, 66)
    once = calc(i0, i1)
    calc(*moving_pair(21, 18))
    assert_same_bits(calc(i0, i1), once)


def test_threads_agree() -> None:
    """Breaks if threads share a buffer: the engine must keep everything local."""
    pairs = [moving_pair(48 + n, 64, seed=n) for n in range(6)]
    alone = [calc(*pair) for pair in pairs]
    together: list[np.ndarray | None] = [None] * len(pairs)

    def work(n: int) -> None:
        together[n] = calc(*pairs[n])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(pairs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for flow, reference in zip(together, alone, strict=True):
        assert flow is not None
        assert_same_bits(flow, reference)


def test_views_are_understood() -> None:
    """Breaks if a frame that is a view (cropped, reversed, read-only) is read as contiguous."""
    i0, i1 = moving_pair(50, 66)
    crop = np.s_[3:40, 5:49]
    expected = calc(i0[crop].copy(), i1[crop].copy())
    frozen = i0[crop]
    frozen.flags.writeable = False
    assert_same_bits(calc(frozen, i1[crop]), expected)


def test_pyramid_sizes_follow_opencv() -> None:
    """Breaks if a level is rounded otherwise than cv2.resize rounds it."""
    for height, width in ((100, 77), (65, 127), (18, 400)):
        image = np.zeros((height, width), np.float32)
        for size in frames.level_sizes(height, width, 9, 0.7)[1:]:
            image = cv2.resize(image, None, fx=0.7, fy=0.7)
            assert image.shape == size

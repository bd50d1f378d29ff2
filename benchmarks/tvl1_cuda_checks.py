"""Is the CUDA engine right: against OpenCV's fields, and against itself."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tvl1_cuda_common import BOUND, DEVICE, INTERPRET, table
from tvl1_cuda_reference import read_reference, sample

from model.tvl1.cuda.engine import CudaTVL1
from model.tvl1.cuda.layout import Shape
from model.tvl1.options import TVL1Options

# The gate of every path that is not bit-identical to OpenCV.
MEAN_PX, WITHIN_ONE = 0.03, 0.99
TESTS = (
    "tests/model/tvl1/test_cuda_tvl1_kernels.py",
    "tests/model/tvl1/test_cuda_tvl1_engine.py",
    "tests/model/tvl1/test_cuda_tvl1.py",
    "tests/extract_features/test_forward_cuda.py",
)


def levels_apart(flow: Tensor, expected: Tensor) -> Tensor:
    """Return how many 8-bit levels two fields are apart."""
    levels = [torch.round(each.clamp(-BOUND, BOUND) * (127 / BOUND)) for each in (flow, expected)]
    return (levels[0] - levels[1]).abs()


def check_gate(path: Path) -> dict[str, Any]:
    """Compare with OpenCV's fields, each pair next to OpenCV's own noise on that pair."""
    reference = read_reference(path)
    first, second = (torch.from_numpy(reference[name]) for name in ("first", "second"))
    expected = torch.from_numpy(reference["flow"])
    shape = Shape(1024, 2) if INTERPRET else Shape()
    engine = CudaTVL1(*first.shape[1:], device=DEVICE, batch=min(len(first), 128), shape=shape)
    flow = torch.from_numpy(sample(engine.calc_batch(first, second).cpu().numpy()))
    mean = (flow - expected).norm(dim=1).mean((1, 2)).numpy()
    share = (levels_apart(flow, expected) <= 1).float().mean((1, 2, 3)).numpy()
    result = judge(mean, share, reference["noise"], reference["opencv"])
    result["pairs"] = len(mean)
    return result


def judge(mean: np.ndarray, share: np.ndarray, noise: np.ndarray, opencv: str) -> dict[str, Any]:
    """Hold the means to the gate, and each pair to the draws of the noise on that same pair.

    Parameters
    ----------
    mean, share : ndarray (P,)
        Of each pair: mean difference in px, and share of 8-bit values within one level.
    noise : ndarray (P, draws, 2)
        The same of OpenCV against itself given .01 grey levels of noise.
    """
    px, within = noise[..., 0], noise[..., 1]
    farther = (px >= mean[:, None]).sum(1)
    draws = noise.shape[1]
    worse = (mean > px.max(1)) | (share < within.min(1))
    rows = [
        (
            i,
            f"{mean[i]:.4f}",
            f"{share[i]:.4f}",
            f"{px[i].min():.4f} {np.median(px[i]):.4f} {px[i].max():.4f}",
            f"{within[i].min():.4f} {np.median(within[i]):.4f}",
            f"{farther[i]}/{draws}",
            "WORSE" if worse[i] else "",
        )
        for i in range(len(mean))
    ]
    table(
        f"Against OpenCV {opencv}; next to it OpenCV itself with .01 grey levels of noise on the"
        f" same pair, {draws} draws",
        (
            "pair",
            "mean px",
            "within 1",
            "noise px: least, median, most",
            "within 1: least, median",
            "draws farther off",
            "",
        ),
        rows,
    )
    result: dict[str, Any] = {
        "mean_px": float(mean.mean()),
        "within_one_level": float(share.mean()),
        "noise_mean_px": float(px.mean()),
        "noise_within_one_level": float(within.mean()),
        "pairs_beyond_every_draw": [int(i) for i in np.flatnonzero(worse)],
        "pairs_beyond_the_median_draw": [
            int(i) for i in np.flatnonzero(mean > np.median(px, axis=1))
        ],
        "each": [
            {
                "mean_px": float(mean[i]),
                "within_one_level": float(share[i]),
                "noise_mean_px": px[i].tolist(),
                "noise_within_one_level": within[i].tolist(),
            }
            for i in range(len(mean))
        ],
    }
    gate = result["mean_px"] <= MEAN_PX and result["within_one_level"] >= WITHIN_ONE
    result["passed"] = bool(gate and not worse.any())
    print(
        f"  mean {result['mean_px']:.4f} px (gate {MEAN_PX}), within one level"
        f" {result['within_one_level']:.4f} (gate {WITHIN_ONE}); {worse.sum()} pairs beyond every"
        f" draw of their own noise, {len(result['pairs_beyond_the_median_draw'])} beyond its"
        f" median: {'passed' if result['passed'] else 'FAILED'}"
    )
    return result


def check_exactness(first: Tensor, second: Tensor, options: TVL1Options) -> dict[str, Any]:
    """No motion, batches and repetition must be exact."""
    size = first.shape[1:]
    engine = CudaTVL1(*size, options, DEVICE, batch=len(first))
    together = engine.calc_batch(first, second)
    alone = CudaTVL1(*size, options, DEVICE, batch=1).calc_batch(first, second)
    still = engine.calc_batch(first[:1], first[:1])
    pairs = np.array([[i, len(first) + i] for i in range(len(first))])
    both = torch.cat([first, second])
    half = CudaTVL1(*size, options, DEVICE, batch=max(1, len(first) // 2))
    parts = torch.cat([flow for _, flow in half.flows(both, pairs)])
    engine.shrink(1)
    result = {
        "no_motion_is_zero": bool((still == 0).all()),
        "batch_equals_pairs": torch.equal(together, alone),
        "streams_equal_batch": torch.equal(together, parts),
        "smaller_batches_equal_the_first": torch.equal(together, engine.calc_batch(first, second)),
        "finite": bool(torch.isfinite(together).all()),
    }
    table("Exactness", ("check", "holds"), list(result.items()))
    return {**result, "passed": all(result.values())}


def run_tests() -> dict[str, Any]:
    """Run the tests that need a GPU, in a process of their own."""
    missing = [name for name in ("pytest", "cv2") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"\ntests left out: {', '.join(missing)} not installed")
        return {"left_out": f"{', '.join(missing)} not installed"}
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *TESTS],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    print("\n" + "\n".join(done.stdout.splitlines()[-5:]))
    return {"passed": done.returncode == 0, "output": done.stdout[-6000:] + done.stderr[-2000:]}

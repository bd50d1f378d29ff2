"""Check and time everything that runs on a GPU, in at most eight minutes.

Fields of the CUDA engine are compared with OpenCV's from a file that
benchmarks/tvl1_cuda_reference.py writes::

    python benchmarks/gpu.py --json result.json
    python benchmarks/gpu.py --reference shared/clips.npz     # frames of real videos
    python benchmarks/gpu.py --interpret                      # smoke test without a GPU

A section that fails says so, and the next one runs; the file grows section by section. The exit
status is 1 when a section or a check failed. The sections, the most important first:

- exactness: no motion gives 0, a batch equals its pairs, a second run equals the first;
- gate: difference from OpenCV, each pair next to OpenCV's own noise on that pair;
- whole: pairs per second over batch sizes, ns per pixel-iteration, memory against its estimate;
- stages: extract-flow and extract-features from video to cache, the share of time in which the
  device waits, two commands at once, float16 against float32;
- copy: the device's own speed of reading and writing, the yardstick of bytes moved;
- iterations: ns per pixel-iteration and bytes moved, without medians and warps;
- large: 640x480; parts: medians, warps, pyramid; shapes: other thread blocks;
- tests: those that need a GPU.
"""

# Paths and Triton's interpreter must be set before torch or the engine is imported.
from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if "--interpret" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
from torch import Tensor
from tvl1_cuda_checks import check_exactness, check_gate, run_tests
from tvl1_cuda_common import DEVICE, INTERPRET, SMOKE, Report, Sizes
from tvl1_cuda_reference import DEFAULT, SYNTHETIC, read_reference, synthetic_pair
from tvl1_cuda_speed import measure_batches, measure_copy, measure_iterations, measure_parts

from model.tvl1.cuda.layout import Shape
from model.tvl1.cuda.runtime import available
from model.tvl1.options import TVL1Options


def describe() -> dict[str, Any]:
    """Print and return the device and the versions."""
    import triton

    machine: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "device": "Triton's interpreter on the CPU",
    }
    if DEVICE == "cuda":
        device = torch.cuda.get_device_properties(0)
        machine["device"] = device.name
        machine["multiprocessors"] = device.multi_processor_count
        machine["memory_gib"] = round(device.total_memory / 2**30, 1)
        machine["capability"] = f"{device.major}.{device.minor}"
    for name, value in machine.items():
        print(f"{name:16} {value}")
    return machine


def pairs_of(height: int, width: int, count: int) -> tuple[Tensor, Tensor]:
    """Make the first frames and the second ones of synthetic pairs."""
    pairs = [synthetic_pair(seed, height, width) for seed in range(count)]
    first, second = (torch.from_numpy(np.stack(frames)) for frames in zip(*pairs, strict=True))
    return first, second


def filled(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat the moving pairs until they fill a device: those go on iterating."""
    moving = (first != second).flatten(1).any(1)
    full = 1 if INTERPRET else -(-264 // int(moving.sum()))
    many, others = (x[moving].repeat(full, 1, 1)[:264].to(DEVICE) for x in (first, second))
    return many, others


def run(report: Report, sizes: Sizes, reference: Path | None, scratch: Path) -> None:
    """Run all sections."""
    report.section("machine", describe)
    # Without a GPU a full-size pair takes minutes, and all of this hours.
    options = TVL1Options(warps=1, inner=2, outer=1) if INTERPRET else TVL1Options()
    if INTERPRET:
        first, second = pairs_of(sizes.height, sizes.width, sizes.pairs)
    else:
        stored = read_reference(reference or DEFAULT)
        first, second = (torch.from_numpy(stored[name]) for name in ("first", "second"))
    report.section("exactness", lambda: check_exactness(first[:6], second[:6], options))
    if reference or not INTERPRET:
        report.section("gate", lambda: check_gate(reference or DEFAULT))
    report.section("whole", lambda: measure_batches(first, second, sizes, options))
    report.section("stages", lambda: _stages(scratch, sizes))
    copy = report.section("copy_bytes_per_second", lambda: measure_copy(sizes))
    many = partial(filled, first, second)
    speed = copy if isinstance(copy, float) else float("nan")
    usual = sizes.shapes[:1] if INTERPRET else (Shape(),)
    report.section("iterations", lambda: measure_iterations(*many(), sizes, speed, usual))
    large = partial(pairs_of, *sizes.large, min(sizes.pairs, SYNTHETIC))
    report.section("whole_large", lambda: measure_batches(*large(), sizes, options))
    report.section("parts", lambda: measure_parts(*many(), sizes))
    report.section("shapes", lambda: measure_iterations(*many(), sizes, speed, sizes.shapes))
    if not INTERPRET:
        report.section("tests", run_tests)


def _stages(scratch: Path, sizes: Sizes) -> dict[str, Any]:
    from gpu_stages import measure_stages  # It needs more libraries than the engine.

    return measure_stages(scratch, sizes)


def main() -> None:
    """Parse the command line and run the sections."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="default: the synthetic pairs' file")
    parser.add_argument("--json", type=Path, help="write all numbers here, section by section")
    parser.add_argument(
        "--limit", type=float, default=360, help="begin no section after so many seconds"
    )
    parser.add_argument("--only", nargs="+", help="names of sections")
    parser.add_argument(
        "--interpret",
        action="store_true",
        help="tiny, on the CPU; with --reference also the gate, in minutes a pair",
    )
    arguments = parser.parse_args()
    runs, reason = available()
    if not runs:
        raise SystemExit(f"the CUDA engine cannot run: {reason}")
    report = Report(arguments.json, arguments.limit, arguments.only)
    with tempfile.TemporaryDirectory() as scratch:
        run(report, SMOKE if INTERPRET else Sizes(), arguments.reference, Path(scratch, "work"))
    print(f"\n{'passed' if report.passed else 'FAILED'}")
    raise SystemExit(0 if report.passed else 1)


if __name__ == "__main__":
    main()

"""Check and time the CUDA TV-L1 engine: one command tells all of it.

Needs a GPU, PyTorch with Triton and NumPy; no OpenCV. Results are compared with OpenCV's
fields from a file that benchmarks/tvl1_cuda_reference.py made beforehand::

    python benchmarks/tvl1_cuda.py --json result.json
    python benchmarks/tvl1_cuda.py --reference shared/clips.npz     # frames of real videos
    python benchmarks/tvl1_cuda.py --interpret                      # smoke test without a GPU

The exit status is 1 when a check fails. What it measures:

- gate: mean difference from OpenCV, share of 8-bit values within one level, per pair;
- exactness: no motion gives 0, a batch equals its pairs, a second run equals the first;
- copy: the device's own speed of reading and writing, the yardstick of bytes moved;
- iterations: ns per pixel-iteration and bytes moved for shapes of the blocks;
- parts: what medians, warps and the pyramid cost;
- batches: pairs per second over batch sizes, and memory against what was told;
- stage one: flow of a video straight into the trunks, and the share of time of each.
"""

# Triton's interpreter must be chosen before Triton is imported, here by torch or the engine.
# ruff: noqa: E402
from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

INTERPRET = "--interpret" in sys.argv
if INTERPRET:
    os.environ["TRITON_INTERPRET"] = "1"

import torch
from torch import Tensor
from tvl1_cuda_reference import DEFAULT, read_reference, sample, synthetic_pair

from model.tvl1.cuda import CudaTVL1, Shape, available, memory_bytes, quantise
from model.tvl1.options import TVL1Options

DEVICE = "cpu" if INTERPRET else "cuda"
BOUND = 20.0
# The gate of every path that is not bit-identical to OpenCV.
MEAN_PX, WITHIN_ONE = 0.03, 0.99
# The target at 340x256 on an H200-class device, pairs per second.
TARGET, AIM = 1000, 2500


@dataclass(frozen=True)
class Sizes:
    """How much is measured: all of it, or a smoke test's worth."""

    height: int = 256
    width: int = 340
    pairs: int = 6
    batches: tuple[int, ...] = (1, 16, 32, 64, 132, 264, 512)
    stream: int = 1056
    shapes: tuple[Shape, ...] = (
        *(Shape(warps, stages) for warps in (8, 16, 32) for stages in (1, 2, 3, 4)),
        *(Shape(8, 2, 128), Shape(8, 2, 80), Shape(8, 3, 128), Shape(16, 2, 64)),
    )
    iterations: int = 60
    repeats: int = 5
    copy_bytes: int = 1 << 30
    snippets: int = 48
    input_size: int = 448
    fields: int = 10


SMOKE = Sizes(
    18, 20, 2, (1, 2), 3, (Shape(16, 1), Shape(16, 2)), 4, 1, 1 << 20, 1, 64, 2
)  # fmt: skip


def synchronise() -> None:
    """Wait for the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Return the median wall-clock time of a call, after one that warms up and compiles."""
    if not INTERPRET:
        run()
    times = []
    for _ in range(repeats):
        synchronise()
        begin = time.perf_counter()
        run()
        synchronise()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with aligned columns."""
    print(f"\n{title}")
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    sys.stdout.flush()


def describe() -> dict[str, Any]:
    """Tell the device and the versions."""
    import triton

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "device": "Triton's interpreter on the CPU",
    }
    if DEVICE == "cuda":
        device = torch.cuda.get_device_properties(0)
        found["device"] = device.name
        found["multiprocessors"] = device.multi_processor_count
        found["memory_gib"] = round(device.total_memory / 2**30, 1)
    for name, value in found.items():
        print(f"{name:16} {value}")
    return found


def levels_apart(found: Tensor, expected: Tensor) -> Tensor:
    """Return how many 8-bit levels two fields are apart."""
    return (quantise(found, BOUND).int() - quantise(expected, BOUND).int()).abs()


def check_gate(path: Path) -> dict[str, Any]:
    """Compare with OpenCV's fields."""
    reference = read_reference(path)
    first, second = (torch.from_numpy(reference[name]) for name in ("first", "second"))
    expected = torch.from_numpy(reference["flow"])
    shape = Shape(1024, 2) if INTERPRET else Shape()
    engine = CudaTVL1(*first.shape[1:], device=DEVICE, batch=min(len(first), 128), shape=shape)
    found = torch.from_numpy(sample(engine.calc_batch(first, second).cpu().numpy()))
    mean = (found - expected).norm(dim=1).mean((1, 2))
    share = (levels_apart(found, expected) <= 1).float().mean((1, 2, 3))
    noise = reference["noise"]
    rows = [
        (i, f"{mean[i]:.4f}", f"{share[i]:.4f}", f"{noise[i, 0]:.4f}", f"{noise[i, 1]:.4f}")
        for i in range(len(mean))
    ]
    table(
        f"Against OpenCV {reference['opencv']}; beside it, OpenCV with .01 grey levels of noise",
        ("pair", "mean px", "within 1", "noise: px", "within 1"),
        rows,
    )
    result = {
        "mean_px": float(mean.mean()),
        "within_one_level": float(share.mean()),
        "worst_mean_px": float(mean.max()),
        "worst_within_one_level": float(share.min()),
        "noise_mean_px": float(noise[:, 0].mean()),
        "noise_within_one_level": float(noise[:, 1].mean()),
        # Both are draws of the same chaos; the worst pair is held to the worst draw.
        "none_worse_than_noise": bool(
            mean.max() <= max(noise[:, 0].max(), MEAN_PX)
            and share.min() >= min(noise[:, 1].min(), WITHIN_ONE)
        ),
        "pairs": len(mean),
    }
    result["passed"] = bool(
        result["mean_px"] <= MEAN_PX
        and result["within_one_level"] >= WITHIN_ONE
        and result["none_worse_than_noise"]
    )
    print(
        f"  mean {result['mean_px']:.4f} px (gate {MEAN_PX}), within one level"
        f" {result['within_one_level']:.4f} (gate {WITHIN_ONE}):"
        f" {'passed' if result['passed'] else 'FAILED'}"
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
    parts = CudaTVL1(*size, options, DEVICE, batch=max(1, len(first) // 2)).flows(both, pairs)
    result = {
        "no_motion_is_zero": bool((still == 0).all()),
        "batch_equals_pairs": torch.equal(together, alone),
        "streams_equal_batch": torch.equal(together, torch.cat([flow for _, flow in parts])),
        "second_run_equals_first": torch.equal(together, engine.calc_batch(first, second)),
        "finite": bool(torch.isfinite(together).all()),
    }
    table("Exactness", ("check", "holds"), list(result.items()))
    return {**result, "passed": all(result.values())}


def measure_copy(sizes: Sizes) -> float:
    """Return the device's copy speed in bytes read and written per second."""
    source = torch.empty(sizes.copy_bytes // 4, device=DEVICE)
    target = torch.empty_like(source)
    speed = 2 * sizes.copy_bytes / seconds(lambda: target.copy_(source), sizes.repeats)
    print(f"\ncopy bandwidth   {speed / 1e9:.0f} GB/s, read and written")
    return speed


def iteration_bytes(shape: Shape) -> float:
    """Bytes that a pass reads and writes for each pixel and iteration."""
    own = 32 - 2 * shape.stages
    return 4 * (9 * 32 + 6 * own) / own / shape.stages


def measure_iterations(first: Tensor, second: Tensor, sizes: Sizes, copy: float) -> list[dict]:
    """Time iterations alone, for each shape of the blocks.

    No median, one warp, one level and a threshold of 0: two runs that differ in the number of
    iterations alone.
    """
    results = []
    few = max(1, sizes.iterations // 5)
    pixels = first.numel()
    for shape in sizes.shapes:
        took, why = [], ""
        for count in (few, sizes.iterations):
            options = TVL1Options(scales=1, warps=1, outer=1, inner=count, epsilon=0.0, median=1)
            try:
                engine = CudaTVL1(*first.shape[1:], options, DEVICE, batch=len(first), shape=shape)
                took.append(seconds(lambda e=engine: e.calc_batch(first, second), sizes.repeats))
            except Exception as error:  # Such as more registers than a block may have.
                why = str(error).splitlines()[0] if str(error) else type(error).__name__
                break
        result: dict[str, Any] = {
            "warps": shape.warps, "stages": shape.stages, "registers": shape.registers
        }  # fmt: skip
        if why:
            result["failed"] = why
        else:
            each = (took[1] - took[0]) / (sizes.iterations - few) / pixels
            result["ns_per_pixel_iteration"] = 1e9 * each
            result["bytes_per_pixel_iteration"] = iteration_bytes(shape)
            result["bytes_per_second"] = iteration_bytes(shape) / each
            result["share_of_copy"] = iteration_bytes(shape) / each / copy
        results.append(result)
    table(
        f"Iterations alone, {len(first)} pairs of {first.shape[2]}x{first.shape[1]}",
        ("warps", "stages", "registers", "ps/px-it", "B/px-it", "GB/s", "of copy"),
        [
            (r["warps"], r["stages"], r["registers"] or "auto", "failed:", r["failed"][:40], "", "")
            if "failed" in r
            else (
                r["warps"],
                r["stages"],
                r["registers"] or "auto",
                f"{1e3 * r['ns_per_pixel_iteration']:.2f}",
                f"{r['bytes_per_pixel_iteration']:.1f}",
                f"{r['bytes_per_second'] / 1e9:.0f}",
                f"{r['share_of_copy']:.0%}",
            )
            for r in results
        ],
    )
    return results


def measure_parts(first: Tensor, second: Tensor, sizes: Sizes) -> dict[str, float]:
    """Time the parts of the method: each is the difference of two runs."""
    base = TVL1Options(scales=1, warps=1, outer=1, inner=1, epsilon=0.0, median=1)

    def run(options: TVL1Options) -> float:
        engine = CudaTVL1(*first.shape[1:], options, DEVICE, batch=len(first))
        return seconds(lambda: engine.calc_batch(first, second), sizes.repeats)

    pixels = first.numel()
    plain = run(base)
    repeated = run(replace(base, outer=6))
    engine = CudaTVL1(*first.shape[1:], None, DEVICE, batch=len(first))
    frames = torch.cat([first, second]).to(DEVICE)
    parts = {
        "median 5, both components": (run(replace(base, outer=6, median=5)) - repeated) / 6,
        "median 3, both components": (run(replace(base, outer=6, median=3)) - repeated) / 6,
        "warp, and one iteration": (run(replace(base, warps=6)) - plain) / 5,
        "pyramid of two frames": seconds(lambda: engine._pyramid(frames), sizes.repeats),
    }
    found = {name: 1e9 * value / pixels for name, value in parts.items()}
    table(
        f"Parts, {len(first)} pairs",
        ("part", "ps per pixel of the finest level"),
        [(name, f"{1e3 * value:.1f}") for name, value in found.items()],
    )
    return found


def measure_batches(first: Tensor, second: Tensor, sizes: Sizes, options: TVL1Options) -> dict:
    """Time the whole engine over batch sizes, and a stream of batches."""
    rows, results = [], []
    size = first.shape[1:]
    for count in sizes.batches:
        repeat = -(-count // len(first))
        a, b = (x.repeat(repeat, 1, 1)[:count].to(DEVICE) for x in (first, second))
        engine = CudaTVL1(*size, options, DEVICE, batch=count)
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        took = seconds(lambda e=engine, a=a, b=b: e.calc_batch(a, b), sizes.repeats)
        used = torch.cuda.max_memory_allocated() - before if DEVICE == "cuda" else 0
        results.append(
            {
                "batch": count,
                "pairs_per_second": count / took,
                "ms": 1e3 * took,
                "memory_bytes": used,
                "memory_told": memory_bytes(*size, options, count),
            }
        )
        work = pixel_iterations(engine)
        rows.append(
            (
                count,
                f"{1e3 * took:.2f}",
                f"{count / took:.0f}",
                f"{work / 1e6:.1f}",
                f"{used >> 20}",
                f"{results[-1]['memory_told'] >> 20}",
            )
        )
    table(
        f"Whole engine, {size[1]}x{size[0]}",
        ("batch", "ms", "pairs/s", "Mpx-it a pair", "MiB used", "MiB told"),
        rows,
    )
    stream = measure_stream(first, second, sizes, options)
    best = max([r["pairs_per_second"] for r in results] + [stream["pairs_per_second"]])
    print(f"  best {best:.0f} pairs/s (target {TARGET}, aim {AIM})")
    return {"batches": results, "stream": stream, "best_pairs_per_second": best}


def pixel_iterations(engine: CudaTVL1) -> float:
    """Return the pixel-iterations of the last batch, a pair."""
    if engine.counts is None:
        raise ValueError("the engine has not run yet")
    each = engine.counts[..., 0].sum(2).double().mean(0).cpu()
    pixels = torch.tensor([h * w for h, w in engine.layout.sizes], dtype=torch.float64)
    return float((each * pixels).sum())


def measure_stream(first: Tensor, second: Tensor, sizes: Sizes, options: TVL1Options) -> dict:
    """Time `flows` from frames in host memory, as extract-flow calls it."""
    frames = torch.cat([first, second])
    count = len(first)
    pairs = np.array([(i % count, count + i % count) for i in range(sizes.stream)])
    engine = CudaTVL1(
        *first.shape[1:], options, DEVICE, batch=min(sizes.stream, max(sizes.batches))
    )
    took = seconds(lambda: [quantise(f, BOUND) for _, f in engine.flows(frames, pairs)], 1)
    print(
        f"  {sizes.stream} pairs in batches of {engine.batch}, from host memory to 8-bit levels"
        f" on the device: {sizes.stream / took:.0f} pairs/s"
    )
    return {"pairs": sizes.stream, "batch": engine.batch, "pairs_per_second": sizes.stream / took}


def measure_stage_one(
    first: Tensor, second: Tensor, sizes: Sizes, options: TVL1Options
) -> dict[str, Any]:
    """Time the flow of each snippet straight into the trunks, and the trunks alone."""
    try:
        from model.features.fusion import random_fusion
        from model.features.stage_one import StageOne, for_inference
        from model.features.trunk import make_trunk, random_state
    except ImportError as error:
        print(f"\nstage one left out: {error}")
        return {"left_out": str(error)}
    generator = torch.Generator().manual_seed(0)
    trunks = [
        make_trunk(channels, "conv5", random_state(channels, "conv5", generator))
        for channels in (3, 2 * sizes.fields)
    ]
    stage = StageOne(*trunks, random_fusion(2048, 512, 256, 0))
    fast = for_inference(stage, torch.device(DEVICE), torch.bfloat16)
    frames = torch.cat([first, second])
    count = len(first)
    pairs = np.array([(i % count, count + i % count) for i in range(sizes.fields * sizes.snippets)])
    engine = CudaTVL1(*first.shape[1:], options, DEVICE, batch=min(len(pairs), 512))
    square = (sizes.input_size, sizes.input_size)
    rgb = torch.randint(0, 256, (sizes.snippets, 3, *square), dtype=torch.uint8, device=DEVICE)

    def flow() -> Tensor:
        return engine.levels(frames, pairs, BOUND)

    @torch.inference_mode()
    def trunk(levels: Tensor) -> None:
        stacks = levels.view(sizes.snippets, 2 * sizes.fields, *levels.shape[2:])
        for part in range(0, sizes.snippets, 16):
            large = torch.nn.functional.interpolate(
                stacks[part : part + 16].float(), square, mode="bicubic"
            )
            fast(rgb[part : part + 16], large.round().clamp(0, 255).to(torch.uint8))

    levels = flow()
    alone = {
        "flow": seconds(flow, sizes.repeats),
        "trunks": seconds(lambda: trunk(levels), sizes.repeats),
        "both": seconds(lambda: trunk(flow()), sizes.repeats),
    }
    table(
        f"Stage one on the device, {sizes.snippets} snippets of {sizes.fields} distinct fields,"
        f" {sizes.input_size} px, bf16",
        ("part", "ms", "snippets/s", "of both"),
        [
            (n, f"{1e3 * t:.0f}", f"{sizes.snippets / t:.1f}", f"{t / alone['both']:.0%}")
            for n, t in alone.items()
        ],
    )
    return {name: sizes.snippets / value for name, value in alone.items()}


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="default: the synthetic pairs' file")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument(
        "--interpret",
        action="store_true",
        help="tiny, on the CPU; with --reference also the gate, in minutes a pair",
    )
    arguments = parser.parse_args()
    runs, reason = available()
    if not runs:
        raise SystemExit(f"the CUDA engine cannot run: {reason}")
    sizes = SMOKE if INTERPRET else Sizes()
    result: dict[str, Any] = {"machine": describe()}
    # Without a GPU a full-size pair takes hours.
    options = TVL1Options(warps=1, inner=2, outer=1) if INTERPRET else TVL1Options()
    if arguments.reference or not INTERPRET:
        result["gate"] = check_gate(arguments.reference or DEFAULT)
    if INTERPRET:
        pairs = [synthetic_pair(s, sizes.height, sizes.width) for s in range(sizes.pairs)]
        first, second = (torch.from_numpy(np.stack(f)) for f in zip(*pairs, strict=True))
    else:
        reference = read_reference(arguments.reference or DEFAULT)
        first, second = (torch.from_numpy(reference[name]) for name in ("first", "second"))
    result["exactness"] = check_exactness(first[:6], second[:6], options)
    result["copy_bytes_per_second"] = measure_copy(sizes)
    # Shapes are compared on a full device, with pairs that go on iterating.
    moving = (first != second).flatten(1).any(1)
    full = 1 if INTERPRET else -(-264 // int(moving.sum()))
    many, others = (x[moving].repeat(full, 1, 1)[:264].to(DEVICE) for x in (first, second))
    result["iterations"] = measure_iterations(many, others, sizes, result["copy_bytes_per_second"])
    result["parts"] = measure_parts(many, others, sizes)
    result["whole"] = measure_batches(first, second, sizes, options)
    result["stage_one"] = measure_stage_one(first, second, sizes, options)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    passed = all(result[name]["passed"] for name in ("gate", "exactness") if name in result)
    raise SystemExit(0 if passed else 1)


if __name__ == "__main__":
    main()

"""How fast the CUDA engine is: copies, iterations, parts, whole batches, streams of batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tvl1_cuda_common import AIM, DEVICE, TARGET, Sizes, seconds, table

from model.tvl1.cuda.engine import CudaTVL1
from model.tvl1.cuda.layout import Shape, memory_bytes
from model.tvl1.options import TVL1Options


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


def measure_iterations(
    first: Tensor, second: Tensor, sizes: Sizes, copy: float, shapes: tuple[Shape, ...]
) -> list[dict]:
    """Time iterations alone, for each shape of the blocks.

    No median, one warp, one level and a threshold of 0: two runs that differ in the number of
    iterations alone.
    """
    results = []
    few = max(1, sizes.iterations // 5)
    pixels = first.numel()
    for shape in shapes:
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
    costs = {name: 1e9 * value / pixels for name, value in parts.items()}
    table(
        f"Parts, {len(first)} pairs",
        ("part", "ps per pixel of the finest level"),
        [(name, f"{1e3 * value:.1f}") for name, value in costs.items()],
    )
    return costs


def measure_batches(first: Tensor, second: Tensor, sizes: Sizes, options: TVL1Options) -> dict:
    """Time the whole engine over batch sizes, and a stream of batches."""
    rows, results = [], []
    size = first.shape[1:]
    for count in sizes.batches:
        repeat = -(-count // len(first))
        a, b = (x.repeat(repeat, 1, 1)[:count].to(DEVICE) for x in (first, second))
        if DEVICE == "cuda" and memory_bytes(*size, options, count) > free_bytes():
            print(f"  batch {count} left out: it would need more memory than is free")
            continue
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
                "memory_estimated": memory_bytes(*size, options, count),
            }
        )
        work = pixel_iterations(engine)
        results[-1]["pixel_iterations_per_pair"] = work
        results[-1]["ns_per_pixel_iteration"] = 1e9 * took / count / work
        rows.append(
            (
                count,
                f"{1e3 * took:.2f}",
                f"{count / took:.0f}",
                f"{work / 1e6:.1f}",
                f"{1e12 * took / count / work:.2f}",
                f"{used >> 20}",
                f"{results[-1]['memory_estimated'] >> 20}",
            )
        )
    table(
        f"Whole engine, {size[1]}x{size[0]}",
        ("batch", "ms", "pairs/s", "Mpx-it a pair", "ps/px-it", "MiB used", "MiB estimated"),
        rows,
    )
    stream = measure_stream(first, second, sizes, options)
    best = max([r["pairs_per_second"] for r in results] + [stream["pairs_per_second"]])
    goal = f" (target {TARGET}, aim {AIM})" if size == (256, 340) else ""
    print(f"  best {best:.0f} pairs/s{goal}")
    return {"batches": results, "stream": stream, "best_pairs_per_second": best}


def free_bytes() -> float:
    """Return most of the device memory that is free."""
    torch.cuda.empty_cache()
    return 0.9 * torch.cuda.mem_get_info()[0]


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
    took = seconds(lambda: [flow.cpu() for _, flow in engine.flows(frames, pairs)], 1)
    print(
        f"  {sizes.stream} pairs in batches of {engine.batch}, from host memory to host memory:"
        f" {sizes.stream / took:.0f} pairs/s"
    )
    return {"pairs": sizes.stream, "batch": engine.batch, "pairs_per_second": sizes.stream / took}

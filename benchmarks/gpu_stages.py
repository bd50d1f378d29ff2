"""Both extraction stages on a device, from video to cache: speed, waiting, precision."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from extract_flow import draw_video
from tvl1_cuda_common import BOUND, DEVICE, INTERPRET, Sizes, table

from data.cache.features import open_features
from data.cache.folder import cache_path
from data.options import FlowOptions, PlanOptions
from data.sources import Source, find_sources
from model.features.options import FusionOptions, TrunkOptions
from model.tvl1.options import TVL1Options
from pipeline.extract_features.command import extract_features
from pipeline.extract_features.settings import FeatureSettings
from pipeline.extract_flow.command import extract_flow
from pipeline.extract_flow.settings import FlowSettings
from pipeline.runner.stage import StageOptions
from pipeline.shell import console

#: float16 maps may differ from float32 ones by this share of their standard deviation, on average.
MOST_DIFFERENCE = 0.02
_SMI = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]


def measure_stages(work: Path, sizes: Sizes) -> dict[str, Any]:
    """Run extract-flow and extract-features on drawn videos, each in two ways."""
    console.configure(verbosity=-1)
    shutil.rmtree(work, ignore_errors=True)
    count, length = (2, 0.2) if INTERPRET else (8, 12.0)
    for number in range(count):
        draw_video(work / "videos" / f"v{number}.mp4", length, number)
    sources = find_sources([work / "videos"])
    _flow(sources[:1], work / "warm", sizes)
    one = _timed(lambda: _flow(sources, work / "flow", sizes))
    two = _timed(lambda: _both(sources, work / "halves", sizes))
    rows: dict[str, dict[str, float]] = {"extract-flow": one, "extract-flow, two at once": two}
    names = ("float32",) if INTERPRET else ("float32", "float16")
    for name in names:
        output = work / name
        _features(sources[:1], work / f"warm-{name}", work / "flow", name)
        rows[f"extract-features, {name}"] = _timed(
            lambda: _features(sources, output, work / "flow", name)  # noqa: B023
        )
    table(
        f"From video to cache, {count} videos",
        ("stage", "rows", "seconds", "rows/s", "device waits"),
        [
            (name, f"{r['rows']:.0f}", f"{r['seconds']:.1f}", f"{r['rows'] / r['seconds']:.0f}",
             f"{r['waiting']:.0%}")
            for name, r in rows.items()
        ],
    )  # fmt: skip
    apart = difference(sources, work / names[0], work / names[-1])
    print(f"  {names[-1]} against float32: {apart:.4f} standard deviations, on average")
    return {"stages": rows, "difference": apart, "passed": apart <= MOST_DIFFERENCE}


def _flow(sources: list[Source], output: Path, sizes: Sizes) -> int:
    """Run extract-flow; return the number of fields."""
    flow = FlowOptions(size=f"{sizes.width}x{sizes.height}" if INTERPRET else None, bound=BOUND)
    options = TVL1Options(warps=1, inner=2, outer=1) if INTERPRET else TVL1Options()
    settings = FlowSettings(plan=_plan(), flow=flow, tvl1=options, engine="cuda", device=DEVICE)
    outcome = extract_flow(sources, settings, StageOptions(output=output, device=DEVICE))
    return _rows(outcome)


def _features(sources: list[Source], output: Path, flow: Path, precision: Any) -> int:
    """Run extract-features; return the number of snippets."""
    small = TrunkOptions(weights="random", trunk_stage="conv4", input_size=32)
    trunk = small if INTERPRET else TrunkOptions(weights="random")
    fusion = FusionOptions(fusion_hidden=8, fusion_channels=8) if INTERPRET else FusionOptions()
    settings = FeatureSettings(
        flow=flow, plan=_plan(), trunk=replace(trunk, precision=precision), fusion=fusion
    )
    outcome = extract_features(sources, settings, StageOptions(output=output, device=DEVICE))
    return _rows(outcome)


def _rows(outcome: Any) -> int:
    if outcome.failures:
        raise ValueError(f"failed: {outcome.failures[0][1]}")
    return sum(result.rows for _, result in outcome.results)


def _plan() -> PlanOptions:
    return PlanOptions(segments=2, candidates=1, stack_length=1) if INTERPRET else PlanOptions()


def _both(sources: list[Source], output: Path, sizes: Sizes) -> int:
    """Run extract-flow on the halves of the videos, in two processes that share the device."""
    spawn = multiprocessing.get_context("spawn")
    halves = [(sources[k::2], output / str(k), sizes) for k in range(2)]
    with spawn.Pool(2) as pool:
        return sum(pool.starmap(_flow, halves))


def _timed(stage: Callable[[], int]) -> dict[str, float]:
    began = time.perf_counter()
    with _utilisation() as samples:
        rows = stage()
    busy = np.mean(samples) / 100 if samples else float("nan")
    return {"rows": rows, "seconds": time.perf_counter() - began, "waiting": float(1 - busy)}


@contextmanager
def _utilisation() -> Iterator[list[float]]:
    """Collect the share of time, in percent, in which the device was busy, ten times a second."""
    samples: list[float] = []
    if INTERPRET or shutil.which("nvidia-smi") is None:
        yield samples
        return
    process = subprocess.Popen(_SMI, stdout=subprocess.PIPE, text=True)

    def read() -> None:
        for line in process.stdout or ():
            samples.append(float(line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield samples
    finally:
        process.kill()
        process.wait()
        reader.join()


def difference(sources: list[Source], one: Path, other: Path) -> float:
    """Mean difference of two folders' maps, in standard deviations of the first."""
    differences = []
    for source in sources:
        with (
            open_features(cache_path(one, source.key)) as first,
            open_features(cache_path(other, source.key)) as second,
        ):
            for row in range(len(first.frame_index)):
                a, b = (np.asarray(each.read(row), np.float32) for each in (first, second))
                differences.append(np.abs(a - b).mean() / a.std())
    return float(np.mean(differences))

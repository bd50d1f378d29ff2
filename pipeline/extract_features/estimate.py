"""What a run of extract-features would cost, without doing any of it."""

from __future__ import annotations

import time

import torch

from data.cache.folder import cache_path
from data.errors import StaleCacheError
from data.sources import Source
from model.features.fusion import random_fusion
from model.features.stage_one import StageOne
from model.features.trunk import make_trunk, random_state
from pipeline.extract_features.forward import CPU_BATCH, Forward
from pipeline.extract_features.plan import FeaturePlan
from pipeline.runner.devices import torch_threads
from pipeline.runner.files import read_safetensors
from pipeline.runner.jobs import JobOptions
from pipeline.shell.console import emit
from pipeline.shell.words import format_bytes, format_duration
from pipeline.stage_one.file import FILE_NAME


def done_before(planned: FeaturePlan) -> set[str]:
    """Return the keys whose caches are there and belong to the folder's stage one.

    Raises
    ------
    StaleCacheError
        As a run would: caches made with other options are in the way.
    """
    path = planned.settings.output / FILE_NAME
    if not path.exists():
        folder = planned.settings.output
        if any(cache_path(folder, source.key).exists() for source, _ in planned.videos):
            raise StaleCacheError(
                f"{folder}: holds caches but no {FILE_NAME}; pass --overwrite or another --output"
            )
        return set()
    weights = read_safetensors(path)[1].get("weights")
    todo = set(planned.todo(weights if isinstance(weights, dict) else {}, overwrite=False))
    return {source.key for source, _ in planned.videos if source.key not in todo}


def seconds_a_snippet(planned: FeaturePlan, batch_size: int | None, snippets: int) -> float:
    """Measure one batch on the first device, with random weights and noise for input.

    Reading is left out: it goes on meanwhile.
    """
    settings = planned.settings
    size = settings.trunk.input_size
    length = 2 * settings.plan.stack_length
    stage = settings.trunk.trunk_stage
    generator = torch.Generator().manual_seed(0)
    rgb, flow = (make_trunk(c, stage, random_state(c, stage, generator)) for c in (3, length))
    fusion = random_fusion(
        1024 if stage == "conv4" else 2048,
        settings.fusion.fusion_hidden,
        settings.fusion.fusion_channels,
        seed=0,
    )
    # A CPU gains nothing from larger batches, and they would take their time.
    most = batch_size or (planned.batch_size() if settings.on_cuda else CPU_BATCH)
    count = min(most, snippets)
    forward = Forward(
        StageOne(rgb, flow, fusion), settings.devices[0], settings.precision, batch_size=count
    )
    frames = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
    stacks = torch.randint(256, (count, length, size, size), dtype=torch.uint8)
    seconds = 0.0
    for _ in ("warm up", "measure"):
        began = time.perf_counter()
        for pending in forward.submit(frames, stacks, "calibration"):
            if pending.done is not None:
                pending.done.synchronize()
        seconds = time.perf_counter() - began
    return seconds / count


def show(planned: FeaturePlan, batch_size: int | None, overwrite: bool, jobs: JobOptions) -> None:
    """Print what a run would do; the time from one batch of random trunks, and a few pairs."""
    settings = planned.settings
    done = set() if overwrite else done_before(planned)
    todo = [(source, video) for source, video in planned.videos if source.key not in done]
    snippets = sum(video.snippets for _, video in todo)
    size = snippets * planned.bytes_a_snippet()
    computed = [source for source, video in todo if video.input.flow is None]
    emit(f"videos    {len(planned.videos)}, of which {len(done)} done and {len(todo)} to do")
    for source, message in planned.failures:
        emit(f"cannot    {source.key}: {message}")
    emit(f"snippets  {snippets:,}" + (" (by the videos' headers)" if computed else ""))
    streams = "with both stream maps" if settings.keep_streams else "fused maps only"
    emit(
        f"size      up to {format_bytes(size)} ({format_bytes(planned.bytes_a_snippet())} a "
        f"snippet, {streams})"
    )
    seconds = _show_flow(planned, computed, jobs)
    if snippets:
        on_cpu = settings.devices == ["cpu"]
        with torch_threads(jobs.workers(1 << 30) if on_cpu else None):
            each = seconds_a_snippet(planned, batch_size, snippets)
        devices = len(settings.devices)
        emit(
            f"time      about {format_duration((snippets * each + seconds) / devices)} on "
            f"{', '.join(settings.devices)} ({1 / each:.2f} snippets/s each"
            f"{', without flow' if computed else ''})"
        )
    emit("nothing was written")


def _show_flow(planned: FeaturePlan, sources: list[Source], jobs: JobOptions) -> float:
    """Print what computing flow takes; return the seconds on one device or machine."""
    recipe = planned.settings.recipe
    if recipe is None or not sources:
        return 0.0
    from data.video.claims import claimed_pairs

    pairs, _ = claimed_pairs([source.path for source in sources], recipe.plan, recipe.flow)
    emit(f"flow      about {pairs:,} pairs on the way, engine {recipe.engine}")
    return 0.0

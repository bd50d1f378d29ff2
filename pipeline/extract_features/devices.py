"""Videos shared among devices: in this process, in one process a device, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from pipeline.extract_features.forward import Forward, default_batch_size
from pipeline.extract_features.settings import FeatureSettings, all_cuda
from pipeline.extract_features.share import ShareResult, run_share
from pipeline.extract_features.snippets import VideoJob
from pipeline.runner.devices import torch_threads
from pipeline.runner.jobs import JobOptions, run_jobs
from pipeline.shell.console import configure, log, progress
from pipeline.shell.words import format_duration
from pipeline.stage_one.file import load_stage_one

if TYPE_CHECKING:
    from pipeline.runner.stage import StageOptions
    from pipeline.stage_one.networks import Networks

#: Videos that are read at once for a GPU: beyond, threads wait for the interpreter lock.
MOST_READERS = 8
_STEPS = ("trunks", "waiting", "writing", "decode", "flow")

Share = tuple[str, Sequence[VideoJob]]  # A device and its videos.


def compute_features(
    videos: Sequence[VideoJob],
    networks: Networks,
    settings: FeatureSettings,
    devices: Sequence[str],
    options: StageOptions,
) -> dict[str, str]:
    """Write the feature caches of some videos; return the failures by key."""
    jobs = options.jobs
    readers = 1
    if all_cuda(devices):
        readers = max(1, jobs.workers(MOST_READERS * len(devices)) // len(devices))
    failures: dict[str, str] = {}
    if len(devices) == 1 and jobs.backend != "dask":
        forward = make_forward(networks, settings, devices[0])
        snippets = sum(len(video.frame_index) for video in videos)
        with (
            torch_threads(jobs.workers() if devices[0] == "cpu" else None),
            progress(total=snippets, desc="features", unit="snippet") as bar,
        ):
            results = [run_share(videos, forward, readers, bar.update)]
    else:
        results, failures = _run_shares(videos, networks, settings, devices, options, readers)
    _log_times(results)
    for result in results:
        failures |= result.failures
    return failures


def make_forward(networks: Networks, settings: FeatureSettings, device: str) -> Forward:
    """Put stage one on a device."""
    return Forward(
        networks.module,
        device,
        networks.settings.precision,
        batch_size=settings.batch_size or default_batch_size(settings.trunk.input_size, device),
        keep_streams=settings.keep_streams,
    )


def _run_shares(
    videos: Sequence[VideoJob],
    networks: Networks,
    settings: FeatureSettings,
    devices: Sequence[str],
    options: StageOptions,
    readers: int,
) -> tuple[list[ShareResult], dict[str, str]]:
    """Share videos among devices, a process each, or video by video among Dask's workers."""
    if options.jobs.backend == "dask":
        shares: list[Share] = [
            (devices[number % len(devices)], [video]) for number, video in enumerate(videos)
        ]
        jobs, unit = replace(options.jobs, shard=None), "video"
    else:
        shares = divide(videos, devices)
        jobs, unit = JobOptions(jobs=len(shares)), "device"
    work = partial(
        _run_in_worker,
        settings=settings,
        output=options.output,
        weights=tuple(sorted(networks.weights.items())),
        readers=readers,
    )
    name: Callable[[Share], str] = lambda share: share[0]  # noqa: E731
    outcome = run_jobs(work, shares, jobs, desc="features", unit=unit, name=name)
    failures = {job.input.key: message for (_, share), message in outcome.failures for job in share}
    return [result for _, result in outcome.results], failures


def divide(videos: Sequence[VideoJob], devices: Sequence[str]) -> list[Share]:
    """Share videos among devices by snippets, longest first; no share is empty."""
    shares: list[tuple[str, list[VideoJob]]] = [(device, []) for device in devices]
    load = [0] * len(devices)
    for video in sorted(videos, key=lambda video: -len(video.frame_index)):
        least = load.index(min(load))
        shares[least][1].append(video)
        load[least] += len(video.frame_index)
    return [(device, part) for device, part in shares if part]


def _run_in_worker(
    share: Share,
    settings: FeatureSettings,
    output: Path,
    weights: tuple[tuple[str, str], ...],
    readers: int,
) -> ShareResult:
    """Run a share in a worker process, where only warnings are shown."""
    if not log.handlers:
        configure(verbosity=-1)
    device, videos = share
    return run_share(videos, _load_forward(device, settings, output, weights), readers)


@lru_cache(maxsize=1)
def _load_forward(
    device: str, settings: FeatureSettings, output: Path, weights: tuple[tuple[str, str], ...]
) -> Forward:
    trunk = settings.trunk
    networks = load_stage_one(
        output, rgb_weights=trunk.rgb_weights, flow_weights=trunk.flow_weights
    )
    if tuple(sorted(networks.weights.items())) != weights:
        raise InputError(f"{output}: its stage one was replaced during the run; run again")
    return make_forward(networks, settings, device)


def _log_times(results: Sequence[ShareResult]) -> None:
    """Log how fast it went and where the time was spent."""
    snippets = sum(result.snippets for result in results)
    wall = max((result.seconds["total"] for result in results), default=0.0)
    if not snippets or not wall:
        return
    total = sum(result.seconds["total"] for result in results)
    percent = [
        100 * sum(result.seconds.get(step, 0.0) for result in results) / total for step in _STEPS
    ]
    log.info(
        "%.2f snippets/s; of %s: trunks and fusion %.0f %%, waiting for input %.0f %%, writing "
        "%.0f %%; meanwhile the readers spent %.0f %% on frames and %.0f %% on flow",
        snippets / wall,
        format_duration(wall),
        *percent,
    )

"""A run of extract-features: devices share the videos; what became of each, and the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data.sources import Source
from data.video.info import damage_among
from pipeline.runner.jobs import JobOptions, Outcome, run_jobs
from pipeline.runner.stage import StageOptions, emit_totals
from pipeline.shell.console import log, progress
from pipeline.shell.words import format_duration

if TYPE_CHECKING:
    from pipeline.extract_features.plan import FeaturePlan
    from pipeline.extract_features.share import FeatureTask, ShareResult, VideoJob
    from pipeline.extract_features.videos import PlannedVideo
    from pipeline.stage_one.networks import Networks


@dataclass(frozen=True)
class FeatureResult:
    """What became of one video.

    Attributes
    ----------
    path : Path
        Its cache.
    snippets : int
    computed : bool
        False when a valid cache was there already.
    warnings : tuple of str
        What was odd about the video.
    """

    path: Path
    snippets: int
    computed: bool
    warnings: tuple[str, ...] = ()


def run(
    planned: FeaturePlan,
    setup: Networks,
    todo: Sequence[str],
    jobs: JobOptions,
    batch_size: int | None,
) -> dict[str, str]:
    """Compute the caches still to do; return the failures by key."""
    from data.files import sweep
    from pipeline.extract_features.share import make_forward, run_share
    from pipeline.runner.devices import torch_threads
    from pipeline.runner.files import check_writable

    if not todo:
        return {}
    settings = planned.settings
    for flag, folder in (("--output", settings.output), ("--save-flow", settings.save_flow)):
        if folder is not None:
            check_writable(folder, flag)
    for folder in (settings.output, settings.save_flow):
        for path in sweep(folder) if folder is not None and folder.is_dir() else ():
            log.debug("removed %s, left by a process that was killed", path)
    task = planned.task(setup, jobs, batch_size)
    videos = planned.jobs(setup.weights, todo)
    _announce(planned, videos)
    if len(settings.devices) == 1 and jobs.backend != "dask":
        device = settings.devices[0]
        snippets = sum(job.snippets for job in videos)
        with (
            torch_threads(jobs.workers(1 << 30) if device == "cpu" else None),
            progress(total=snippets or None, desc="features", unit="snippet") as bar,
        ):
            forward = make_forward(setup, task, device)
            results = [run_share((device, videos), task, forward, bar.update)]
        failed: dict[str, str] = {}
    else:
        results, failed = _run_shares(planned, task, videos, jobs)
    _report(results)
    for result in results:
        failed.update(result.failures)
    return failed


def _announce(planned: FeaturePlan, videos: Sequence[VideoJob]) -> None:
    """Log what is to be done; compile the flow engine once before workers start."""
    settings = planned.settings
    log.info(
        "%d of %d videos to do on %s", len(videos), len(planned.videos), ", ".join(settings.devices)
    )
    recipe = settings.recipe
    if recipe is not None and any(job.input.flow is None for job in videos):
        from pipeline.extract_flow.fields import warm_up

        log.info("flow is computed on the way, engine %s", recipe.engine)
        if recipe.engine != "cuda":
            warm_up(recipe.engine)


def _run_shares(
    planned: FeaturePlan, task: FeatureTask, videos: Sequence[VideoJob], jobs: JobOptions
) -> tuple[list[ShareResult], dict[str, str]]:
    """Share videos among devices, a process each, or video by video among Dask's workers."""
    from pipeline.extract_features.share import run_quietly

    on_dask = jobs.backend == "dask"
    shares = planned.shares(videos, one_by_one=on_dask)
    outcome = run_jobs(
        partial(run_quietly, task=task),
        shares,
        replace(jobs, shard=None) if on_dask else JobOptions(jobs=len(shares)),
        desc="features",
        unit="video" if on_dask else "device",
        name=lambda share: share[0],
    )
    failed = {job.input.key: message for (_, share), message in outcome.failures for job in share}
    return [result for _, result in outcome.results], failed


_TIMES = ("trunks", "flow on the device", "waiting", "writing", "decode", "flow")


def _report(results: Sequence[ShareResult]) -> None:
    """Log how fast it went and where the time was spent."""
    snippets = sum(result.snippets for result in results)
    wall = max((result.seconds.get("total", 0.0) for result in results), default=0.0)
    if not snippets or not wall:
        return
    total = sum(result.seconds.get("total", 0.0) for result in results)
    share = {
        name: 100 * sum(result.seconds.get(name, 0.0) for result in results) / total
        for name in _TIMES
    }
    log.info(
        "%.2f snippets/s; of %s: trunks and fusion%s %.0f %%, waiting for input %.0f %%, writing "
        "%.0f %%; meanwhile the readers spent %.0f %% on frames and %.0f %% on flow",
        snippets / wall,
        format_duration(wall),
        " with flow" if share["flow on the device"] else "",
        share["trunks"] + share["flow on the device"],
        *(share[name] for name in ("waiting", "writing", "decode", "flow")),
    )


def keep_missing_flow(
    planned: FeaturePlan, todo: Sequence[str], jobs: JobOptions
) -> dict[str, str]:
    """Keep the flow of videos whose features were there before it was asked for; give failures."""
    from data.cache.folder import cache_path
    from pipeline.extract_flow.command import extract_flow

    settings = planned.settings
    folder, recipe = settings.save_flow, settings.recipe
    if folder is None or recipe is None:
        return {}
    missing = [
        source
        for source, _ in planned.videos
        if source.key not in todo and not cache_path(folder, source.key).exists()
    ]
    if not missing:
        return {}
    done = extract_flow(
        missing,
        recipe,
        StageOptions(output=folder, jobs=replace(jobs, shard=None), strict=settings.strict),
    )
    return {source.key: message for source, message in done.failures}


def enter_results(
    planned: FeaturePlan,
    todo: Sequence[str],
    failed: Mapping[str, str],
    outcome: Outcome[Source, FeatureResult],
) -> None:
    """Enter what became of each video; `strict` refuses earlier features of a damaged one."""
    for source, video in planned.videos:
        if source.key in failed:
            outcome.failures.append((source, failed[source.key]))
            continue
        result = _result_of(video, source.key in todo)
        damage = damage_among(result.warnings) if planned.settings.strict else []
        if damage:
            outcome.failures.append((source, f"{source.path}: {'; '.join(damage)}"))
        else:
            outcome.results.append((source, result))


def _result_of(video: PlannedVideo, computed: bool) -> FeatureResult:
    """Describe a finished cache."""
    from data.cache.features import open_features

    if video.frame_index is not None:
        return FeatureResult(video.path, len(video.frame_index), computed, video.warnings)
    with open_features(video.path) as cache:
        return FeatureResult(video.path, cache.shape[0], computed, cache.header.warnings)


def summarise(outcome: Outcome[Source, FeatureResult], output: Path, scanned: bool) -> None:
    """Print the totals; where the videos were scanned here, first what is odd about them."""
    if scanned:
        for source, result in outcome.results:
            for warning in result.warnings:
                log.warning("%s: %s", source.key, warning)
    results = [result for _, result in outcome.results]
    snippets = sum(result.snippets for result in results)
    emit_totals(output, results, f"{snippets:,} snippets")

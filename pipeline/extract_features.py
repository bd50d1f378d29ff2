"""Stage 1b: frozen two-stream features of videos, one cache a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.options import PlanOptions
from model.features.options import FusionOptions, TrunkOptions
from pipeline.console import emit, format_bytes, format_duration, log, progress
from pipeline.jobs import JobOptions, Outcome, finish, run_jobs, take_shard
from pipeline.options import build, common_options, dataclass_options

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.feature_plan import FeaturePlan
    from pipeline.feature_workers import FeatureTask, ShareResult, VideoJob
    from pipeline.stage_one import StageOneSetup


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


def extract_features(
    sources: Sequence[Source],
    flow_folder: str | Path,
    output: str | Path,
    plan: PlanOptions | None = None,
    trunk: TrunkOptions | None = None,
    fusion: FusionOptions | None = None,
    jobs: JobOptions | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    overwrite: bool = False,
    strict: bool = False,
    dry_run: bool = False,
    seed: int = 0,
    keep_streams: bool = False,
) -> Outcome[Source, FeatureResult]:
    """Compute the feature caches of some videos; those that are there and valid are kept.

    Parameters
    ----------
    sources : sequence of Source
        As `data.sources.find_sources` gives them.
    flow_folder : path
        Output of `extract_flow` for these videos, made with a plan that covers this one.
    output : path
        Root of the caches, ``<output>/<key>.h5``, and of `stage_one.safetensors`.
    plan, trunk, fusion : options
        Which snippets, which trunks, and which frozen fusion.
    jobs : JobOptions
        On CUDA, the processes that read frames and flow. On a CPU, the threads of the trunks,
        beside which one more thread reads.
    device : str
        "auto", "cpu", "cuda:0", or several with commas, which share the videos.
    batch_size : int, optional
        Snippets a batch at most; None chooses by device and input size.
    overwrite, strict, dry_run : bool
        Compute all again; fail on videos that warned; only say what would be done.
    seed : int
        Of random trunks and fusion.
    keep_streams : bool
        Keep both stream maps too.

    Returns
    -------
    Outcome
        One `FeatureResult` a video, in the order of the sources, and the failures. Empty after a
        dry run.

    Raises
    ------
    InputError
        Weights, options or devices that cannot be used; caches made otherwise are in the way.
    """
    from pipeline.feature_plan import FeaturePlan, Settings
    from pipeline.forward import parse_devices, resolve_precision

    jobs = jobs or JobOptions()
    devices = parse_devices(device)
    trunk = trunk or TrunkOptions()
    settings = Settings(
        Path(flow_folder),
        Path(output),
        plan or PlanOptions(),
        trunk,
        fusion or FusionOptions(),
        resolve_precision(trunk.precision, devices),
        devices,
        keep_streams,
        strict,
        seed,
    )
    planned = FeaturePlan(settings, sources, take_shard(sources, jobs.shard))
    if dry_run:
        _show_estimate(planned, batch_size, overwrite)
        return Outcome()
    outcome: Outcome[Source, FeatureResult] = Outcome(failures=list(planned.failures))
    if planned.videos:
        setup = planned.prepare(overwrite)
        todo = planned.todo(setup.weights, overwrite)
        failed = _run(planned, setup, todo, jobs, batch_size)
        for source, video in planned.videos:
            if source.key in failed:
                outcome.failures.append((source, failed[source.key]))
            else:
                done = FeatureResult(
                    video.path, len(video.frame_index), source.key in todo, video.warnings
                )
                outcome.results.append((source, done))
    place = {source.key: index for index, source in enumerate(sources)}
    outcome.failures.sort(key=lambda item: place[item[0].key])
    return outcome


def _run(
    planned: FeaturePlan,
    setup: StageOneSetup,
    todo: Sequence[str],
    jobs: JobOptions,
    batch_size: int | None,
) -> dict[str, str]:
    """Compute the caches still to do; return the failures by key."""
    from data import cache
    from pipeline.feature_workers import make_forward, run_share
    from pipeline.forward import torch_threads

    if not todo:
        return {}
    settings = planned.settings
    for path in cache.sweep(settings.output):
        log.debug("removed %s, left by a process that was killed", path)
    task = planned.task(setup, jobs, batch_size)
    videos = planned.jobs(setup.weights, todo)
    snippets = sum(len(job.frame_index) for job in videos)
    log.info(
        "%d of %d videos to do on %s", len(todo), len(planned.videos), ", ".join(settings.devices)
    )
    if len(settings.devices) == 1 and jobs.backend != "dask":
        device = settings.devices[0]
        with (
            torch_threads(jobs.workers(1 << 30) if device == "cpu" else None),
            progress(total=snippets, desc="features", unit="snippet") as bar,
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


def _run_shares(
    planned: FeaturePlan, task: FeatureTask, videos: Sequence[VideoJob], jobs: JobOptions
) -> tuple[list[ShareResult], dict[str, str]]:
    """Share videos among devices, a process each, or video by video among Dask's workers."""
    from pipeline.feature_workers import run_quietly

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


def _report(results: Sequence[ShareResult]) -> None:
    """Log how fast it went and where the time was spent."""
    snippets = sum(result.snippets for result in results)
    wall = max((result.seconds.get("total", 0.0) for result in results), default=0.0)
    if not snippets or not wall:
        return
    total = sum(result.seconds.get("total", 0.0) for result in results)
    share = {
        name: sum(result.seconds.get(name, 0.0) for result in results) / total
        for name in ("trunks", "waiting", "writing", "decode", "flow")
    }
    log.info(
        "%.2f snippets/s; of %s: trunks and fusion %.0f %%, waiting for input %.0f %%, writing "
        "%.0f %%; meanwhile the readers spent %.0f %% on frames and %.0f %% on flow",
        snippets / wall,
        format_duration(wall),
        *(100 * share[name] for name in ("trunks", "waiting", "writing", "decode", "flow")),
    )


def _show_estimate(planned: FeaturePlan, batch_size: int | None, overwrite: bool) -> None:
    """Print what a run would do; the time from one batch of random trunks."""
    from pipeline.feature_estimate import done_before, seconds_a_snippet

    settings = planned.settings
    done = set() if overwrite else done_before(planned)
    todo = [video for source, video in planned.videos if source.key not in done]
    snippets = sum(len(video.frame_index) for video in todo)
    size = snippets * planned.bytes_a_snippet()
    emit(f"videos    {len(planned.videos)}, of which {len(done)} done and {len(todo)} to do")
    for source, message in planned.failures:
        emit(f"cannot    {source.key}: {message}")
    emit(f"snippets  {snippets:,}")
    streams = "with both stream maps" if settings.keep_streams else "fused maps only"
    emit(
        f"size      up to {format_bytes(size)} ({format_bytes(planned.bytes_a_snippet())} a "
        f"snippet, {streams})"
    )
    if snippets:
        each = seconds_a_snippet(planned, batch_size, snippets)
        devices = len(settings.devices)
        emit(
            f"time      about {format_duration(snippets * each / devices)} on "
            f"{', '.join(settings.devices)} ({1 / each:.2f} snippets/s each)"
        )
    emit("nothing was written")


EPILOG = """\b
Examples:
  pipeline extract-features videos/ --flow flow/ -o features/
  pipeline extract-features videos/ --flow flow/ -o features/ --rgb-weights resnet101.pth
  pipeline extract-features videos/ --flow flow/ -o features/ --device cuda:0,cuda:1
  pipeline extract-features videos/ --flow flow/ -o streams/ --keep-streams --dry-run

\b
The sampling options must be those given to extract-flow. Run the same command again to go on
after an interruption: finished caches are kept.
"""


def _batch_size(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if not value.isdigit() or int(value) < 1:
        raise click.BadParameter("expected auto or a whole number of at least 1")
    return int(value)


@click.command("extract-features", epilog=EPILOG)
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
@click.option(
    "--flow",
    "flow_folder",
    type=click.Path(path_type=Path),
    required=True,
    help="Output of extract-flow for the same videos.",
)
@click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    metavar="N|auto",
    callback=_batch_size,
    help="Snippets a batch; halved when memory runs out.",
)
@click.option(
    "--keep-streams/--no-keep-streams",
    default=False,
    show_default=True,
    help="Keep both trunks' maps too, 64 times the size (for fit-fusion and video_lstm).",
)
@dataclass_options(PlanOptions)
@dataclass_options(TrunkOptions)
@dataclass_options(FusionOptions)
@common_options("output", "jobs", "device", "overwrite", "strict", "dry_run", "seed")
@click.pass_context
def command(ctx: click.Context, /, videos: tuple[str, ...], **params: Any) -> None:
    """Compute frozen two-stream features of VIDEOS, one HDF5 cache a video.

    VIDEOS are folders, files, @list.txt with a path a line, or a CSV with a column `video` or
    `path`. Two ResNet101s see each snippet's frame and flow stack; ConvFusion joins their maps.
    --device may name several GPUs (cuda:0,cuda:1), which share the videos; --jobs are then the
    processes that read for them, and on a CPU the threads of the networks.
    """
    from data.sources import find_sources

    outcome = extract_features(
        find_sources(videos),
        params["flow_folder"],
        params["output"],
        build(PlanOptions, params),
        build(TrunkOptions, params),
        build(FusionOptions, params),
        JobOptions(*(params[name] for name in ("jobs", "backend", "scheduler", "shard"))),
        params["device"],
        params["batch_size"],
        overwrite=params["overwrite"],
        strict=params["strict"],
        dry_run=params["dry_run"],
        seed=params["seed"],
        keep_streams=params["keep_streams"],
    )
    if not params["dry_run"]:
        _summarise(outcome, params["output"])
    ctx.exit(finish(outcome, lambda source: source.key))


def _summarise(outcome: Outcome[Source, FeatureResult], output: Path) -> None:
    """Print the totals."""
    results = [result for _, result in outcome.results]
    size = sum(result.path.stat().st_size for result in results)
    kept = sum(not result.computed for result in results)
    there = f", {kept} of them there already" if kept else ""
    videos = "1 video" if len(results) == 1 else f"{len(results)} videos"
    snippets = sum(result.snippets for result in results)
    emit(f"{output}: {videos}{there}; {snippets:,} snippets, {format_bytes(size)}")

"""Stage 1a: TV-L1 optical flow of videos, one cache a video."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError, VideoError
from data.options import FlowOptions, PlanOptions
from model.tvl1.options import TVL1Options
from pipeline.console import emit, format_bytes, format_duration, log, progress
from pipeline.jobs import JobOptions, Outcome, finish, run_jobs, take_shard
from pipeline.options import build, common_options, dataclass_options

if TYPE_CHECKING:
    from data.cache_header import Header
    from data.sources import Source
    from pipeline.flow_estimate import Estimate
    from pipeline.flow_workers import FlowResult, FlowTask

ENGINES = ("auto", "numba", "opencv", "cuda")
#: Present where a GPU may be: only then is PyTorch, which takes seconds to import, asked for one.
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
#: Share of clipped flow values from which a larger bound is suggested.
CLIPPED_NOTICE = 0.01


def extract_flow(
    sources: Sequence[Source],
    output: str | Path,
    plan: PlanOptions | None = None,
    flow: FlowOptions | None = None,
    tvl1: TVL1Options | None = None,
    engine: str = "auto",
    jobs: JobOptions | None = None,
    device: str = "auto",
    overwrite: bool = False,
    strict: bool = False,
    dry_run: bool = False,
    seed: int = 0,
) -> Outcome[Source, FlowResult]:
    """Compute the flow caches of some videos; those that are there and valid are kept.

    Parameters
    ----------
    sources : sequence of Source
        As `data.sources.find_sources` gives them.
    output : path
        Root of the caches: ``<output>/<key>.h5``.
    plan, flow, tvl1 : options
        Which pairs, at which size and how stored, and TV-L1's own parameters.
    engine : {"auto", "numba", "opencv", "cuda"}
        Bit-identical engines may go on with each other's caches.
    jobs : JobOptions
        Workers; one thread each.
    device : str
        For the CUDA engine.
    overwrite : bool
        Compute all again.
    strict : bool
        Damaged videos fail, rather than warn.
    dry_run : bool
        Measure a few pairs, say what would be done, and write nothing.
    seed : int
        Draws the pairs that a dry run measures; the caches do not depend on it.

    Returns
    -------
    Outcome
        One `FlowResult` a video, in the order of the sources, and the failures. Empty after a
        dry run.

    Raises
    ------
    InputError
        The engine is not available, or caches made with other input or options are in the way.
    """
    from data import cache

    jobs = jobs or JobOptions()
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: expected a folder to write caches to, found a file")
    task = make_task(
        output,
        plan or PlanOptions(),
        flow or FlowOptions(),
        tvl1 or TVL1Options(),
        choose_engine(engine, device),
        device,
        strict,
    )
    wanted = take_shard(sources, jobs.shard)
    outcome, todo = _preflight(wanted, task, overwrite)
    if dry_run:
        _show_estimate(wanted, todo, task, jobs, seed)
        return Outcome()
    if output.is_dir():
        for path in cache.sweep(output):
            log.debug("removed %s, left by a process that was killed", path)
    if todo:
        log.info("%d of %d videos to do, engine %s", len(todo), len(wanted), task.engine)
        try:
            _run(todo, task, jobs, outcome)
        finally:
            cache.sweep(output)
    return _in_order(outcome, wanted)


def choose_engine(engine: str, device: str) -> str:
    """Resolve ``auto``; InputError when the engine is not available here.

    ``auto`` is the CUDA engine where `device` is a GPU, or is itself ``auto`` and there is one.
    """
    from model.tvl1 import engines

    looks = device.startswith("cuda") or (device == "auto" and NVIDIA_DRIVER.exists())
    if engine == "cuda" or (engine == "auto" and looks):
        from model.tvl1.cuda_runtime import available

        usable, why = available()
        if usable:
            return "cuda"
        if engine == "cuda" or device.startswith("cuda"):
            raise InputError(f"TV-L1 on a GPU: {why}; use --engine auto --device cpu")
    try:
        return engines.choose(engine)
    except ValueError as error:
        raise InputError(str(error)) from error


def make_task(
    output: Path,
    plan: PlanOptions,
    flow: FlowOptions,
    tvl1: TVL1Options,
    engine: str,
    device: str,
    strict: bool,
) -> FlowTask:
    """Put together what workers need, with what every header will record."""
    from model.tvl1 import engines
    from pipeline.flow_workers import FlowTask

    identity = engines.identity(engine)
    versions = dict(identity)
    for package in ("h5py", "numpy"):
        versions[package] = importlib.metadata.version(package)
    return FlowTask(
        output=output,
        plan=plan,
        flow=flow,
        tvl1=tvl1,
        engine=engine,
        device=device if device.startswith("cuda") else "cuda",
        parameters=flow_parameters(plan, flow, tvl1, identity),
        versions=versions,
        strict=strict,
    )


def flow_parameters(
    plan: PlanOptions, flow: FlowOptions, tvl1: TVL1Options, identity: dict[str, str]
) -> dict[str, object]:
    """Parameters recorded in a flow cache: those that the arrays depend on, and no others.

    ``PlanOptions(**parameters["plan"])`` gives the plan back, and so on for ``flow`` and
    ``tvl1``. Engines whose results are equal to the bit record the same ``engine``.
    """
    from pipeline.flow_workers import PREPARATION

    planned = asdict(plan)
    for name in ("stride",) if plan.plan == "segments" else ("segments", "candidates"):
        del planned[name]
    stored = asdict(flow)
    if flow.size is not None:
        del stored["short_side"]
    major = identity["opencv"].partition(".")[0]
    exact = identity["guarantee"] == "bit-identical"
    return {
        "plan": planned,
        "flow": stored,
        "tvl1": asdict(tvl1),
        "preparation": PREPARATION,
        "engine": f"OpenCV {major}" if exact else f"{identity['engine']} for OpenCV {major}",
    }


def _preflight(
    sources: Sequence[Source], task: FlowTask, overwrite: bool
) -> tuple[Outcome[Source, FlowResult], list[Source]]:
    """Sort videos into done, failed and to do; StaleCacheError when caches are in the way."""
    from data import cache

    outcome: Outcome[Source, FlowResult] = Outcome()
    there = [s for s in sources if cache.cache_path(task.output, s.key).exists()]
    if overwrite or not there:
        return outcome, list(sources)
    headers: dict[str, Header] = {}
    # Hashing waits for the disk and releases the interpreter: threads are enough.
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(partial(_wanted_header, task=task), there)
        for source, header in progress(
            zip(there, found, strict=True), total=len(there), desc="check", unit="cache"
        ):
            if isinstance(header, str):
                outcome.failures.append((source, header))
            else:
                headers[source.key] = header
    todo = set(cache.check_folder(task.output, headers))
    unusable = {source.key for source, _ in outcome.failures}
    for source in there:
        if source.key not in todo and source.key not in unusable:
            outcome.results.append((source, _kept(cache.cache_path(task.output, source.key))))
    done = {source.key for source, _ in outcome.results} | unusable
    return outcome, [source for source in sources if source.key not in done]


def _wanted_header(source: Source, task: FlowTask) -> Header | str:
    """Header that a valid cache of a video would have, as far as its fingerprint; or a failure."""
    from data.cache_header import Header
    from data.video import file_digest

    try:
        digest = file_digest(source.path)
    except VideoError as error:
        return str(error)
    return Header("flow", source_digest=digest, parameters=task.parameters)


def _kept(path: Path) -> FlowResult:
    """Describe a cache that was there already."""
    from data.flow_cache import open_flow
    from pipeline.flow_workers import FlowResult

    with open_flow(path) as opened:
        return FlowResult(
            path=path,
            frames=opened.header.decoded_frames,
            pairs=len(opened),
            computed=False,
            clipped=opened.clipped,
            warnings=opened.header.warnings,
        )


def _run(
    todo: Sequence[Source], task: FlowTask, jobs: JobOptions, outcome: Outcome[Source, FlowResult]
) -> None:
    """Compute: most videos side by side, then the longest one by one with all workers on each."""
    from pipeline.flow_schedule import estimated_cost, split_longest
    from pipeline.flow_workers import extract_one, warm_up

    if task.engine == "cuda":  # one process feeds the device, which takes many pairs at a time
        jobs = JobOptions(jobs=1)
    else:
        warm_up(task.engine)
    split: list[int] = []
    workers = jobs.workers(1 << 30)
    costs = [0.0] * len(todo)
    if workers > 1 and jobs.backend != "dask":
        costs = [estimated_cost(source.path, task.plan, task.flow) for source in todo]
        split = split_longest(costs, workers)
    beside = [index for index in range(len(todo)) if index not in set(split)]
    beside.sort(key=lambda index: -costs[index])
    whole = partial(extract_one, task=task)
    shared = partial(extract_one, task=task, workers=workers, backend=jobs.backend)
    # The shard was taken before, and a split video brings its own workers.
    for chosen, run_one, options in (
        (beside, whole, replace(jobs, shard=None)),
        (split, shared, JobOptions(jobs=1)),
    ):
        if chosen:
            done = run_jobs(
                run_one, [todo[i] for i in chosen], options, desc="flow", name=lambda s: s.key
            )
            outcome.results += done.results
            outcome.failures += done.failures


def _in_order(
    outcome: Outcome[Source, FlowResult], sources: Sequence[Source]
) -> Outcome[Source, FlowResult]:
    """Put results and failures into the order of the sources."""
    place = {source.key: index for index, source in enumerate(sources)}
    outcome.results.sort(key=lambda item: place[item[0].key])
    outcome.failures.sort(key=lambda item: place[item[0].key])
    return outcome


def _show_estimate(
    sources: Sequence[Source], todo: Sequence[Source], task: FlowTask, jobs: JobOptions, seed: int
) -> None:
    """Print what a run would do."""
    from pipeline.flow_estimate import estimate

    found: Estimate = estimate(todo, task, jobs, seed)
    emit(
        f"videos    {len(sources)}, of which {len(sources) - len(todo)} done and {len(todo)} to do"
    )
    if found.unknown:
        emit(f"unknown   {found.unknown} of these say nothing usable in their headers")
    emit(f"pairs     about {found.pairs:,} (by the videos' headers)")
    emit(f"size      about {format_bytes(found.size)}")
    if found.seconds_per_pair is None:
        emit("time      unknown: no pair could be measured")
    else:
        workers = "1 worker" if found.workers == 1 else f"{found.workers} workers"
        emit(
            f"time      about {format_duration(found.seconds)} with {workers}"
            f" ({found.seconds_per_pair * 1000:.0f} ms a pair, engine {task.engine})"
        )
    emit("nothing was written")


def _summarise(outcome: Outcome[Source, FlowResult], output: Path, task_bound: float) -> None:
    """Print the totals, and before them everything odd about single videos."""
    for source, result in outcome.results:
        for warning in result.warnings:
            log.warning("%s: %s", source.key, warning)
        if result.clipped > CLIPPED_NOTICE:
            log.warning(
                "%s: %.1f %% of the flow lies beyond the bound of %g px; a larger --bound keeps it",
                source.key,
                100 * result.clipped,
                task_bound,
            )
    results = [result for _, result in outcome.results]
    size = sum(result.path.stat().st_size for result in results)
    kept = sum(not result.computed for result in results)
    there = f", {kept} of them there already" if kept else ""
    videos = "1 video" if len(results) == 1 else f"{len(results)} videos"
    pairs = sum(result.pairs for result in results)
    emit(f"{output}: {videos}{there}; {pairs:,} flow fields, {format_bytes(size)}")


EPILOG = """\b
Examples:
  pipeline extract-flow videos/ -o flow/
  pipeline extract-flow a.mp4 b.avi -o flow/ --plan dense --stride 5
  pipeline extract-flow @list.txt -o flow/ --size 340x256 --dry-run
  pipeline extract-flow videos/ -o flow/ -j 8 --shard auto

\b
Run the same command again to go on after an interruption: finished caches are kept.
"""


@click.command("extract-flow", epilog=EPILOG)
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="TV-L1 engine; auto takes the fastest one there is here.",
)
@dataclass_options(PlanOptions)
@dataclass_options(FlowOptions)
@dataclass_options(TVL1Options)
@common_options("output", "jobs", "device", "overwrite", "strict", "dry_run", "seed")
@click.pass_context
def command(ctx: click.Context, /, videos: tuple[str, ...], **params: Any) -> None:
    """Compute TV-L1 optical flow of VIDEOS, one HDF5 cache a video.

    VIDEOS are folders, files, @list.txt with a path a line, or a CSV with a column `video` or
    `path`. Only the pairs of frames that the sampling plan needs are computed, each once.
    """
    from data.sources import find_sources

    flow = build(FlowOptions, params)
    outcome = extract_flow(
        find_sources(videos),
        params["output"],
        build(PlanOptions, params),
        flow,
        build(TVL1Options, params),
        params["engine"],
        JobOptions(*(params[name] for name in ("jobs", "backend", "scheduler", "shard"))),
        params["device"],
        overwrite=params["overwrite"],
        strict=params["strict"],
        dry_run=params["dry_run"],
        seed=params["seed"],
    )
    if not params["dry_run"]:
        _summarise(outcome, params["output"], flow.bound)
    ctx.exit(finish(outcome, lambda source: source.key))

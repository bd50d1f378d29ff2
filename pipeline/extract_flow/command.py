"""Stage 1a: TV-L1 optical flow of videos, one cache a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.options import FlowOptions, PlanOptions
from model.tvl1.options import TVL1Options
from pipeline.extract_flow.settings import (
    FlowResult,
    choose_engine,
    clipped_notice,
    flow_parameters,
    make_task,
)
from pipeline.runner.jobs import JobOptions, Outcome, emit_totals, finish, in_order, take_shard
from pipeline.shell.console import log
from pipeline.shell.flags import (
    build,
    check_plan_and_size,
    common_options,
    dataclass_options,
    shared_options,
)

if TYPE_CHECKING:
    from data.sources import Source

__all__ = ["choose_engine", "command", "extract_flow", "flow_parameters", "make_task"]


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
    from pipeline.extract_flow import estimate as flow_estimate
    from pipeline.extract_flow import run as flow_run
    from pipeline.runner import disk_room
    from pipeline.runner.stage_times import recorded

    jobs = jobs or JobOptions()
    output = Path(output)
    disk_room.check_is_folder(output)
    task = make_task(
        output,
        plan or PlanOptions(),
        flow or FlowOptions(),
        tvl1 or TVL1Options(),
        choose_engine(engine, device),
        device,
        strict,
    )
    jobs.workers(1)  # a wrong number is told before anything is done
    wanted = take_shard(sources, jobs.shard)
    outcome, todo = flow_run.preflight(wanted, task, overwrite)
    if dry_run:
        flow_estimate.show(wanted, todo, task, jobs, seed)
        return Outcome()
    with flow_run.swept(output):
        if todo:
            disk_room.check_writable(output)
            log.info("%d of %d videos to do, engine %s", len(todo), len(wanted), task.engine)
            with recorded(output, "extract-flow") as work:
                work.videos = len(todo)
                flow_run.compute(todo, task, jobs, outcome)
    return in_order(outcome, wanted)


def _summarise(outcome: Outcome[Source, FlowResult], output: Path, bound: float) -> None:
    """Print the totals, and before them everything odd about single videos."""
    for source, result in outcome.results:
        for warning in result.warnings:
            log.warning("%s: %s", source.key, warning)
        notice = clipped_notice(result.clipped, bound)
        if notice:
            log.warning("%s: %s", source.key, notice)
    results = [result for _, result in outcome.results]
    pairs = sum(result.pairs for result in results)
    emit_totals(output, results, f"{pairs:,} flow fields")


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
@shared_options("engine")
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
    check_plan_and_size(ctx)
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

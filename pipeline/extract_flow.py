"""Stage 1a: TV-L1 optical flow of videos, one cache a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from data.options import FlowOptions, PlanOptions
from model.tvl1.options import TVL1Options
from pipeline.console import emit, format_bytes, log
from pipeline.flow_task import FlowResult, choose_engine, flow_parameters, make_task
from pipeline.jobs import JobOptions, Outcome, finish, take_shard
from pipeline.options import build, common_options, dataclass_options

if TYPE_CHECKING:
    from data.sources import Source

__all__ = ["ENGINES", "choose_engine", "command", "extract_flow", "flow_parameters", "make_task"]

ENGINES = ("auto", "numba", "opencv", "cuda")
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
    from pipeline import disk_room, flow_estimate, flow_run

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
            flow_run.compute(todo, task, jobs, outcome)
    return flow_run.in_order(outcome, wanted)


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


#: Flags that one plan looks at and the other does not.
_PLAN_FLAGS = {"segments": ("segments", "candidates"), "dense": ("stride",)}


def _check_combination(ctx: click.Context) -> None:
    """Refuse flags that contradict each other, and tell of those that have no effect."""
    given = {
        name
        for name in ctx.params
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    if {"size", "short_side"} <= given:
        raise InputError("--size and --short-side exclude each other: give one of them")
    plan = ctx.params["plan"]
    other = "dense" if plan == "segments" else "segments"
    for name in sorted(given.intersection(_PLAN_FLAGS[other])):
        log.warning("--%s has no effect on --plan %s; add --plan %s to use it", name, plan, other)


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
    _check_combination(ctx)
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

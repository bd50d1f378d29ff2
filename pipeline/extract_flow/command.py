"""Stage 1a, `pipeline extract-flow`: TV-L1 optical flow of videos, one cache a video.

Read downwards: the function that does it, the stage's three answers, the flags. One video is
computed in `video.py`; planning, sweeping and summing up are those of every stage
(`pipeline.runner.stage`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from data.options import PlanOptions
from pipeline.extract_flow.settings import FlowComputation, FlowSettings
from pipeline.runner.jobs import JobOptions, Outcome, run_jobs
from pipeline.runner.stage import StageOptions, run, summarise
from pipeline.shell.common import common_options
from pipeline.shell.console import log
from pipeline.shell.flags import build, dataclass_options, explicit_flags, option_fields

if TYPE_CHECKING:
    from data.cache.header import Header
    from data.sources import Source
    from pipeline.extract_flow.video import FlowResult

#: Flags that one sampling plan reads and the other ignores.
PLAN_FLAGS = {"segments": ("segments", "candidates"), "dense": ("stride",)}
#: Workers up to which videos run in threads, which share one engine and start at once. With more,
#: threads wait for one another: 3 % of a worker's time holds the interpreter lock.
MOST_THREADS = 8


def extract_flow(
    sources: Sequence[Source], settings: FlowSettings, options: StageOptions
) -> Outcome[Source, FlowResult]:
    """Compute the flow caches of some videos; valid ones that already exist are kept.

    Raises
    ------
    InputError
        Caches made with other input or options are in the way.
    """
    return run(FlowStage(settings), sources, options)


@dataclass(frozen=True)
class FlowStage:
    """Videos to flow caches."""

    settings: FlowSettings
    name: str = "extract-flow"
    rows: str = "flow fields"

    def digest(self, source: Source) -> str:
        """Digest of a video's content."""
        from data.video.reading import file_digest

        return file_digest(source.path)

    def header(self, source: Source, digest: str) -> Header:
        """Header of a valid cache of this video, as far as its fingerprint."""
        from data.cache.header import Header

        return Header("flow", source_digest=digest, parameters=self.settings.parameters)

    def describe(self, path: Path) -> FlowResult:
        """Return what is known of a valid cache that already exists."""
        from pipeline.extract_flow.video import describe

        return describe(path, self.settings.flow.bound)

    def forecast(self, sources: Sequence[Source]) -> list[str]:
        """Return how many fields these videos would give, by their own headers."""
        from data.video.claims import claimed_pairs
        from pipeline.shell.words import format_bytes

        pairs, values = claimed_pairs(
            [source.path for source in sources], self.settings.plan, self.settings.flow
        )
        return [f"pairs     about {pairs:,}, {format_bytes(2 * values)} before compression"]

    def compute(
        self, sources: Sequence[Source], options: StageOptions
    ) -> Outcome[Source, FlowResult]:
        """Compute videos side by side, the largest first; few videos one by one, by all workers."""
        from pipeline.extract_flow.fields import warm_up
        from pipeline.extract_flow.video import extract_one

        jobs = replace(options.jobs, shard=None)  # It was taken before.
        if self.settings.engine == "cuda":  # One process feeds the device.
            jobs = JobOptions(jobs=1)
        else:
            warm_up(self.settings.engine)  # Once, so that no worker compiles it again.
        workers = jobs.workers()
        if jobs.backend == "auto" and workers <= MOST_THREADS:
            jobs = replace(jobs, backend="threading")
        share = 1
        if len(sources) < workers and jobs.backend != "dask":
            jobs, share = JobOptions(jobs=1), workers
        one = partial(extract_one, settings=self.settings, output=options.output, workers=share)
        largest_first = sorted(sources, key=_size, reverse=True)
        return run_jobs(one, largest_first, jobs, desc="flow", name=lambda source: source.key)


def _size(source: Source) -> int:
    """Bytes of a video file; 0 where it is missing, which is reported when it is read."""
    try:
        return source.path.stat().st_size
    except OSError:
        return 0


def check_plan_and_size(ctx: click.Context) -> None:
    """Refuse two sizes of flow; warn of flags that the plan ignores."""
    explicit = explicit_flags(ctx)
    if {"size", "short_side"} <= explicit:
        raise InputError("--size and --short-side exclude each other: give one of them")
    plan = ctx.params["plan"]
    other = "dense" if plan == "segments" else "segments"
    for name in sorted(explicit.intersection(PLAN_FLAGS[other])):
        log.warning("--%s has no effect on --plan %s; add --plan %s to use it", name, plan, other)


def refuse_flow_options(ctx: click.Context) -> None:
    """Refuse options of flow together with --flow, where they would have no effect."""
    explicit = {entry.name for entry, _ in option_fields(FlowComputation)} & explicit_flags(ctx)
    for param in ctx.command.params:
        if param.name in explicit:
            raise InputError(
                f"{param.opts[0]} has no effect on flow that was computed before; give it to "
                "extract-flow, or leave --flow out"
            )


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
@dataclass_options(FlowComputation)
@dataclass_options(PlanOptions)
@dataclass_options(StageOptions)
@common_options()
@click.pass_context
def command(ctx: click.Context, /, videos: tuple[str, ...], **params: Any) -> None:
    """Compute TV-L1 optical flow of VIDEOS, one HDF5 cache a video.

    VIDEOS are folders, files, @list.txt with a path a line, or a CSV with a column `video` or
    `path`. Only the pairs of frames that the sampling plan needs are computed, each once.
    """
    from data.sources import find_sources

    check_plan_and_size(ctx)
    options = build(StageOptions, params)
    settings = build(FlowComputation, params).settings(build(PlanOptions, params), options)
    outcome = extract_flow(find_sources(videos, options.exclude), settings, options)
    ctx.exit(summarise(FlowStage(settings), outcome, options))

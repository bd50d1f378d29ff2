"""The shape of every stage that fills a folder with one cache a video: plan, run, summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from data.cache.header import Header
from data.errors import VideoError
from data.files import sweep
from data.sources import Source
from pipeline.runner.files import check_is_folder, check_writable
from pipeline.runner.jobs import JobOptions, Outcome, finish, in_order, take_shard
from pipeline.shell.console import emit, log, progress
from pipeline.shell.flags import shared
from pipeline.shell.words import counted, format_bytes


class Result(Protocol):
    """What became of one video."""

    @property
    def path(self) -> Path:
        """Its cache."""

    @property
    def rows(self) -> int:
        """Fields or snippets in the cache."""

    @property
    def computed(self) -> bool:
        """False when a valid cache already existed."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the video."""


R = TypeVar("R", bound=Result)


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """The options that all stages share."""

    output: Path = shared("output")
    exclude: tuple[str, ...] = shared("exclude")
    jobs: JobOptions = field(default_factory=JobOptions)
    device: str = shared("device")
    overwrite: bool = shared("overwrite")
    strict: bool = shared("strict")
    dry_run: bool = shared("dry_run")


class Stage(Protocol[R]):
    """What a stage must say of itself; `run` does the rest."""

    @property
    def name(self) -> str:
        """The command."""

    @property
    def rows(self) -> str:
        """What the rows of a cache are called, for instance "flow fields"."""

    def digest(self, source: Source) -> str:
        """Digest of a video's content; VideoError where it cannot be read."""

    def header(self, source: Source, digest: str) -> Header:
        """Header of a valid cache of this video, as far as its fingerprint."""

    def describe(self, path: Path) -> R:
        """Return what is known of a valid cache that already exists."""

    def forecast(self, sources: Sequence[Source]) -> list[str]:
        """Return lines on how many rows and bytes these videos would give, by their headers."""

    def compute(self, sources: Sequence[Source], options: StageOptions) -> Outcome[Source, R]:
        """Write the caches of these videos."""


@dataclass
class Plan(Generic[R]):
    """The videos of a stage, sorted before anything is computed."""

    remaining: list[Source]
    done: Outcome[Source, R]  # Valid caches, and videos that cannot be used.


def run(stage: Stage[R], sources: Sequence[Source], options: StageOptions) -> Outcome[Source, R]:
    """Do what is missing; results and failures in the order of the sources, none after a dry run.

    Raises
    ------
    InputError
        The output cannot be written, or holds caches made from other input or options.
    """
    check_is_folder(options.output)
    options.jobs.workers(1)  # Refuse wrong numbers before anything is done.
    chosen = take_shard(sources, options.jobs.shard)
    planned = plan(stage, chosen, options)
    remaining, outcome = planned.remaining, planned.done
    if options.dry_run:
        done = len(chosen) - len(remaining)
        emit(f"videos    {len(chosen)}, of which {done} done, {len(remaining)} to do")
        for line in [*stage.forecast(remaining), "nothing was written"]:
            emit(line)
        return Outcome()
    with swept(options.output):
        if remaining:
            check_writable(options.output)
            log.info("%d of %d videos to do", len(remaining), len(chosen))
            computed = stage.compute(remaining, options)
            outcome.results += computed.results
            outcome.failures += computed.failures
    return in_order(outcome, sources)


def plan(stage: Stage[R], sources: Sequence[Source], options: StageOptions) -> Plan[R]:
    """Sort videos into those done, those that cannot be used, and those to do."""
    from data.cache.folder import cache_path, check_folder
    from data.video.info import damage_among

    done: Outcome[Source, R] = Outcome()
    cached = [each for each in sources if cache_path(options.output, each.key).exists()]
    if options.overwrite or not cached:
        return Plan(list(sources), done)
    headers: dict[str, Header] = {}
    with ThreadPoolExecutor(4) as pool:  # Hashing waits for the disk.
        digests = zip(cached, pool.map(partial(_digest, stage), cached), strict=True)
        for source, digest in progress(digests, total=len(cached), desc="check", unit="cache"):
            if isinstance(digest, VideoError):
                done.failures.append((source, str(digest)))
            else:
                headers[source.key] = stage.header(source, digest)
    missing = set(check_folder(options.output, headers))
    for source in cached:
        if source.key in missing or source.key not in headers:
            continue
        result = stage.describe(cache_path(options.output, source.key))
        damage = damage_among(result.warnings) if options.strict else []
        if damage:
            done.failures.append((source, f"{source.path}: {'; '.join(damage)}"))
        else:
            done.results.append((source, result))
    known = {source for source, _ in (*done.results, *done.failures)}
    return Plan([source for source in sources if source not in known], done)


def _digest(stage: Stage[R], source: Source) -> str | VideoError:
    try:
        return stage.digest(source)
    except VideoError as error:
        return error


@contextmanager
def swept(output: Path) -> Iterator[None]:
    """Remove what killed processes left in a folder, before the block and after it."""
    if output.is_dir():
        for path in sweep(output):
            log.debug("removed %s, left by a process that was killed", path)
    try:
        yield
    finally:
        sweep(output)


def emit_totals(output: Path, results: Sequence[Any], rows: str) -> None:
    """Print how many caches a folder has, how many already existed, their rows and their size."""
    old = sum(not result.computed for result in results)
    size = sum(result.path.stat().st_size for result in results)
    already = f", {old} of them already done" if old else ""
    emit(f"{output}: {counted(len(results), 'video')}{already}; {rows}, {format_bytes(size)}")


def summarise(stage: Stage[R], outcome: Outcome[Source, R], options: StageOptions) -> int:
    """Print what was odd, the totals and the failures; return the exit code."""
    results = [result for _, result in outcome.results]
    if not options.dry_run:
        for source, result in outcome.results:
            for warning in result.warnings:
                log.warning("%s: %s", source.key, warning)
        rows = f"{sum(result.rows for result in results):,} {stage.rows}"
        emit_totals(options.output, results, rows)
    return finish(outcome, lambda source: source.key)

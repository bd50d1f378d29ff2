"""Carrying out extract-flow: what is done already, who computes what, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from data.cache.flow import open_flow
from data.cache.folder import cache_path, check_folder
from data.cache.header import Header
from data.errors import VideoError
from data.files import sweep
from data.sources import Source
from data.video.info import damage_among
from data.video.reading import file_digest
from pipeline.extract_flow.fields import warm_up
from pipeline.extract_flow.schedule import estimated_cost, split_longest
from pipeline.extract_flow.settings import FlowResult, FlowTask
from pipeline.extract_flow.video import extract_one
from pipeline.runner.jobs import JobOptions, Outcome, run_jobs
from pipeline.shell.console import log, progress

#: Workers up to which videos side by side run in threads. They start at once and share one engine,
#: where processes take a second to load it; but what is not flow holds the interpreter lock for
#: some 3 % of a worker's time, so that many threads would wait for one another.
MOST_THREADS = 8

FlowOutcome = Outcome[Source, FlowResult]


def preflight(
    sources: Sequence[Source], task: FlowTask, overwrite: bool
) -> tuple[FlowOutcome, list[Source]]:
    """Sort videos into done, failed and to do; StaleCacheError when caches are in the way."""
    outcome: FlowOutcome = Outcome()
    there = [s for s in sources if cache_path(task.output, s.key).exists()]
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
    todo = set(check_folder(task.output, headers))
    unusable = {source.key for source, _ in outcome.failures}
    for source in there:
        if source.key not in todo and source.key not in unusable:
            kept = _kept(cache_path(task.output, source.key))
            damage = damage_among(kept.warnings) if task.strict else []
            if damage:
                outcome.failures.append((source, f"{source.path}: {'; '.join(damage)}"))
            else:
                outcome.results.append((source, kept))
    done = {source.key for source, _ in (*outcome.results, *outcome.failures)}
    return outcome, [source for source in sources if source.key not in done]


def _wanted_header(source: Source, task: FlowTask) -> Header | str:
    """Header that a valid cache of a video would have, as far as its fingerprint; or a failure."""
    try:
        digest = file_digest(source.path)
    except VideoError as error:
        return str(error)
    return Header("flow", source_digest=digest, parameters=task.parameters)


def _kept(path: Path) -> FlowResult:
    """Describe a cache that was there already."""
    with open_flow(path) as opened:
        return FlowResult(
            path=path,
            frames=opened.header.decoded_frames,
            pairs=len(opened),
            computed=False,
            clipped=opened.clipped,
            warnings=opened.header.warnings,
        )


def compute(todo: Sequence[Source], task: FlowTask, jobs: JobOptions, outcome: FlowOutcome) -> None:
    """Compute: most videos side by side, then the longest one by one with all workers on each."""
    if task.engine == "cuda":  # one process feeds the device, which takes many pairs at a time
        jobs = JobOptions(jobs=1)
    else:
        warm_up(task.engine)  # once, before workers start, so that none compiles again
    workers = jobs.workers(1 << 30)
    if jobs.backend == "auto" and workers <= MOST_THREADS:
        jobs = replace(jobs, backend="threading")
    beside, split = _parts(todo, task, jobs, workers)
    whole = partial(extract_one, task=task)
    shared = partial(extract_one, task=task, workers=workers)
    # The shard was taken before, and a split video brings its own workers.
    for chosen, run_one, options in (
        (beside, whole, replace(jobs, shard=None)),
        (split, shared, JobOptions(jobs=1)),
    ):
        if chosen:
            done = run_jobs(run_one, chosen, options, desc="flow", name=lambda s: s.key)
            outcome.results += done.results
            outcome.failures += done.failures


def _parts(
    todo: Sequence[Source], task: FlowTask, jobs: JobOptions, workers: int
) -> tuple[list[Source], list[Source]]:
    """Videos that run side by side, and those that get all workers; both longest first."""
    if workers == 1 or jobs.backend == "dask":
        return list(todo), []
    costs = [estimated_cost(source.path, task.plan, task.flow) for source in todo]
    split = split_longest(costs, workers)
    beside = [index for index in range(len(todo)) if index not in set(split)]
    beside.sort(key=lambda index: -costs[index])
    return [todo[index] for index in beside], [todo[index] for index in split]


@contextmanager
def swept(output: Path) -> Iterator[None]:
    """Remove what killed processes left in the folder, before the block and after it."""
    if output.is_dir():
        for path in sweep(output):
            log.debug("removed %s, left by a process that was killed", path)
    try:
        yield
    finally:
        sweep(output)

"""Many items through joblib: one bad item never stops the others."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from data.errors import InputError
from pipeline.runner.interrupts import Threads, check_interrupts, interrupts_held
from pipeline.shell.console import emit, log, progress
from pipeline.shell.words import counted, format_bytes

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class JobOptions:
    """How many workers there are, of which kind, and which part of the items is ours."""

    jobs: int = -1
    #: joblib's, or "auto": processes, unless the stage itself prefers threads.
    backend: str = "auto"
    scheduler: str | None = None
    shard: str | None = None

    def workers(self, items: int) -> int:
        """Return the number of workers for `items` items: never more than there are items.

        Raises
        ------
        InputError
            The options contradict each other.
        """
        import joblib

        if self.jobs == 0:
            raise InputError("--jobs must be at least 1, or -1 for all cores; found 0")
        if self.scheduler is not None and self.backend != "dask":
            raise InputError("--scheduler needs --backend dask")
        available = joblib.cpu_count() + 1 + self.jobs if self.jobs < 0 else self.jobs
        return max(1, min(available, items))

    @property
    def processes(self) -> bool:
        """Whether several workers are processes of this machine."""
        return self.backend in ("auto", "loky")


@dataclass
class Outcome(Generic[Item, Result]):
    """What became of every item, in the order in which they were given."""

    results: list[tuple[Item, Result]] = field(default_factory=list)
    failures: list[tuple[Item, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Failure:
    message: str


def run_jobs(
    task: Callable[[Item], Result],
    items: Sequence[Item],
    options: JobOptions,
    *,
    desc: str,
    unit: str = "video",
    name: Callable[[Item], str] = str,
) -> Outcome[Item, Result]:
    """Run `task` on every item, in workers of one thread each, and collect failures.

    Parameters
    ----------
    task
        Picklable; an `InputError`, or an error of the system's such as a full disk, that it
        raises becomes a listed failure.
    name
        What to call an item in log lines.
    """
    import joblib

    workers = options.workers(len(items))
    here = os.getcwd()
    threads = Threads() if options.backend == "threading" and workers > 1 else None
    calls = (
        joblib.delayed(_guarded)(index, task, item, here, threads)
        for index, item in enumerate(items)
    )
    found: dict[int, Any] = {}
    with (
        warnings.catch_warnings(),
        _backend(options, workers),
        progress(total=len(items), desc=desc, unit=unit) as bar,
    ):
        # Loky starts workers again that were idle for long; no item is lost.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        parallel = joblib.Parallel(
            batch_size=1, pre_dispatch="2*n_jobs", return_as="generator_unordered"
        )
        held = options.processes and workers > 1
        with _running(parallel, calls, held, threads) as results:
            for index, result in results:
                check_interrupts()
                found[index] = result
                if isinstance(result, _Failure):
                    log.warning("%s: %s", name(items[index]), result.message)
                bar.update()
    outcome: Outcome[Item, Result] = Outcome()
    for index, item in enumerate(items):
        if isinstance(found[index], _Failure):
            outcome.failures.append((item, found[index].message))
        else:
            outcome.results.append((item, found[index]))
    return outcome


def in_order(outcome: Outcome[Item, Result], items: Sequence[Item]) -> Outcome[Item, Result]:
    """Put results and failures into the order of the (hashable) items."""
    place = {item: index for index, item in enumerate(items)}
    outcome.results.sort(key=lambda entry: place[entry[0]])
    outcome.failures.sort(key=lambda entry: place[entry[0]])
    return outcome


def finish(outcome: Outcome[Any, Any], name: Callable[[Any], str] = str) -> int:
    """List the failures and return the exit code: 0 where there are none, otherwise 1."""
    if not outcome.failures:
        return 0
    total = len(outcome.failures) + len(outcome.results)
    log.error("%d of %d failed:", len(outcome.failures), total)
    for item, message in outcome.failures:
        log.error("  %s: %s", name(item), message)
    return 1


class Cached(Protocol):
    """What became of one video of a stage that fills caches: its cache, and whether it is new."""

    @property
    def path(self) -> Path:
        """The cache."""

    @property
    def computed(self) -> bool:
        """Whether this run made it."""


def emit_totals(output: Path, results: Sequence[Cached], rows: str) -> None:
    """Print how many caches a folder got, how many were there, their rows and their size."""
    size = sum(result.path.stat().st_size for result in results)
    kept = sum(not result.computed for result in results)
    there = f", {kept} of them there already" if kept else ""
    videos = counted(len(results), "video")
    emit(f"{output}: {videos}{there}; {rows}, {format_bytes(size)}")


def take_shard(items: Sequence[Item], shard: str | None) -> list[Item]:
    """Return the items of part I of N, for `I/N` counted from 1, or SLURM's under `auto`.

    Raises
    ------
    InputError
        If the shard is not of that form, or `auto` is asked for outside an array job.
    """
    if shard is None:
        return list(items)
    part, parts = _slurm_shard() if shard == "auto" else _parse_shard(shard)
    if not 1 <= part <= parts:
        raise InputError(f"--shard {shard}: expected I/N with 1 <= I <= N, for instance 2/8")
    return list(items[part - 1 :: parts])


def _parse_shard(shard: str) -> tuple[int, int]:
    part, _, parts = shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal()):
        raise InputError(f"--shard {shard}: expected I/N, for instance 2/8, or auto")
    return int(part), int(parts)


def _slurm_shard() -> tuple[int, int]:
    try:
        task = int(os.environ["SLURM_ARRAY_TASK_ID"])
        first = int(os.environ.get("SLURM_ARRAY_TASK_MIN", "0"))
        step = int(os.environ.get("SLURM_ARRAY_TASK_STEP", "1"))
        return (task - first) // step + 1, int(os.environ["SLURM_ARRAY_TASK_COUNT"])
    except (KeyError, ValueError) as error:
        raise InputError(
            "--shard auto: SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT are not set; "
            "start an array job, or give --shard I/N"
        ) from error


@contextmanager
def _backend(options: JobOptions, workers: int) -> Iterator[None]:
    import joblib

    if options.backend == "dask":
        with _dask_client(options.scheduler), joblib.parallel_config("dask"):
            yield
        return
    if workers == 1:
        with joblib.parallel_config("sequential", n_jobs=1):
            yield
        return
    # One thread a worker: the workers already fill the cores.
    if options.processes:
        config = joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=1)
    else:
        config = joblib.parallel_config(options.backend, n_jobs=workers)
    with config:
        yield


@contextmanager
def _dask_client(scheduler: str | None) -> Iterator[None]:
    if scheduler is None:
        raise InputError(
            "--backend dask needs --scheduler HOST:PORT (start one with `dask scheduler`)"
        )
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise InputError(
            "--backend dask needs the package `distributed`; install `dexterank[dask]`"
        ) from error
    try:
        client = Client(scheduler, timeout="20s")
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler {scheduler}: no Dask scheduler answers there ({error})"
        ) from error
    with client:
        yield


def _guarded(
    index: int, task: Callable[[Item], Result], item: Item, here: str, threads: Threads | None
) -> tuple[int, Any]:
    # Workers are used again: they stand where the caller stood when they started. On another
    # machine the folder may not be there.
    with suppress(OSError):
        os.chdir(here)
    try:
        with threads.task() if threads else nullcontext():
            return index, task(item)
    except (InputError, OSError, MemoryError) as error:
        check_interrupts()  # which may be what the error comes from
        return index, _Failure(str(error) or "out of memory")


@contextmanager
def _running(
    parallel: Any, calls: Iterator[Any], processes: bool, threads: Threads | None
) -> Iterator[Iterator[Any]]:
    """Start the workers, processes of ours out of the reach of Ctrl-C; they end with the block."""
    results = None
    try:
        with interrupts_held() if processes else nullcontext():
            results = parallel(calls)
        yield _explained(results)
    finally:
        if results is not None:
            with warnings.catch_warnings(action="ignore"):  # it says how much was left undone
                results.close()
        if threads:
            threads.stop()


def _explained(results: Iterator[Any]) -> Iterator[Any]:
    """Pass results on; say in one line what a killed worker process means."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        yield from results
    except TerminatedWorkerError as error:
        raise InputError(
            "a worker process was killed, most likely for lack of memory; "
            "run again with fewer --jobs: what is finished is kept"
        ) from error

"""Many items through joblib: one bad item never stops the others."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from data.errors import InputError, system_line, system_reason
from pipeline.runner.cluster import KILLED, on_cluster
from pipeline.runner.signals import quiet_start, serve
from pipeline.shell.console import log, progress
from pipeline.shell.flags import shared

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How many workers there are, of which kind, and which part of the items is ours."""

    jobs: int = shared("jobs")
    #: "auto": processes, unless the stage itself prefers threads.
    backend: str = shared("backend")
    scheduler: str | None = shared("scheduler")
    shard: str | None = shared("shard")

    def workers(self, items: int | None = None) -> int:
        """Return the number of workers for `items` items: never more than there are items.

        Without `items`, as many as the options allow.

        Raises
        ------
        InputError
            The options contradict each other.
        """
        joblib = _import_joblib()
        if self.jobs == 0:
            raise InputError("--jobs must be at least 1, or -1 for all cores; found 0")
        if self.scheduler is not None and self.backend != "dask":
            raise InputError("--scheduler needs --backend dask")
        available = joblib.cpu_count() + 1 + self.jobs if self.jobs < 0 else self.jobs
        return max(1, available if items is None else min(available, items))

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
        Picklable; an `InputError`, or an error of the system such as a full disk, that it raises
        becomes a listed failure.
    name
        Name of an item in log lines.
    """
    joblib = _import_joblib()
    workers = options.workers(len(items))
    options, workers = _possible(options, workers)
    here = os.getcwd()
    calls = (joblib.delayed(_guarded)(index, task, item, here) for index, item in enumerate(items))
    answers: dict[int, Any] = {}
    with (
        warnings.catch_warnings(),
        _backend(options, workers),
        progress(total=len(items), desc=desc, unit=unit) as bar,
    ):
        # Loky restarts workers that were idle for long; no item is lost.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        parallel = joblib.Parallel(
            batch_size=1, pre_dispatch="2*n_jobs", return_as="generator_unordered"
        )
        for index, answer in _answers(parallel, calls, options.processes and workers > 1):
            answers[index] = answer
            if isinstance(answer, _Failure):
                log.warning("%s: %s", name(items[index]), answer.message)
            bar.update()
    outcome: Outcome[Item, Result] = Outcome()
    for index, item in enumerate(items):
        if isinstance(answers[index], _Failure):
            outcome.failures.append((item, answers[index].message))
        else:
            outcome.results.append((item, answers[index]))
    return outcome


def _import_joblib() -> Any:
    with warnings.catch_warnings():
        # Said better by run_jobs, and only where it matters.
        warnings.filterwarnings("ignore", ".*joblib will operate in serial mode")
        import joblib
    return joblib


def _possible(options: JobOptions, workers: int) -> tuple[JobOptions, int]:
    """Replace processes by threads, and threads by this one, where the machine has no room."""
    if workers == 1 or options.backend == "dask":
        return options, workers
    if options.processes and (reason := _why_no_semaphores(16)):
        log.warning(
            "worker processes cannot be started (%s); all is done in this process, which may take "
            "longer; give /dev/shm more room",
            reason,
        )
        options = replace(options, backend="threading")
    if not options.processes and _why_no_semaphores(4):
        return options, 1
    return options, workers


def _why_no_semaphores(count: int) -> str | None:
    """Return why this machine has no room for semaphores, None where it has.

    Containers often have a /dev/shm of a few KB, or none. Each semaphore takes a page there; a
    pool of processes needs some ten, one of threads two.
    """
    try:
        from multiprocessing import Semaphore

        _ = [Semaphore() for _ in range(count)]
    except (ImportError, OSError) as error:
        reason = system_reason(error)
        return f"/dev/shm: {reason.partition(';')[0]}"
    return None


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


def take_shard(items: Sequence[Item], shard: str | None) -> list[Item]:
    """Return the items of part I of N, for `I/N` counted from 1, or SLURM's under `auto`.

    Raises
    ------
    InputError
        The shard is not of that form, or `auto` is given outside an array job.
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
    joblib = _import_joblib()
    if options.backend == "dask":
        with on_cluster(options.scheduler, lambda index: (index, _Failure(KILLED))):
            yield
        return
    if workers == 1:  # Whatever the backend.
        config = joblib.parallel_config("sequential", n_jobs=1)
    elif options.processes:  # One thread a worker: the workers already fill the cores.
        config = joblib.parallel_config(
            "loky",
            n_jobs=workers,
            inner_max_num_threads=1,
            initializer=serve,
            initargs=(os.getpid(),),
        )
    else:
        config = joblib.parallel_config(options.backend, n_jobs=workers)
    with config:
        yield


def _guarded(index: int, task: Callable[[Item], Result], item: Item, here: str) -> tuple[int, Any]:
    # Workers are reused: they stand in the caller's folder of the time when they started. On
    # another machine the folder may not exist.
    with suppress(OSError):
        os.chdir(here)
    try:
        return index, task(item)
    except InputError as error:
        return index, _Failure(str(error))
    except (OSError, MemoryError) as error:
        return index, _Failure(system_line(error))


def _answers(parallel: Any, calls: Iterator[Any], processes: bool) -> Iterator[tuple[int, Any]]:
    """Yield the answers as they come; one line where a worker process was killed."""
    from concurrent.futures import CancelledError
    from concurrent.futures.process import BrokenProcessPool

    answers = iter(())
    try:
        with quiet_start() if processes else nullcontext():
            answers = parallel(calls)  # A worker may die while the last ones start.
        yield from answers
    except CancelledError as error:  # Dask's, for futures that nobody can answer any more.
        raise InputError(
            "the connection to the Dask scheduler was lost, most likely because it was stopped; "
            "start it again and run the same command: what is finished is kept"
        ) from error
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was killed, most likely for lack of memory; "
            "run again with fewer --jobs: what is finished is kept"
        ) from error
    finally:
        with warnings.catch_warnings(action="ignore"):  # about work that is left undone
            if hasattr(answers, "close"):
                answers.close()

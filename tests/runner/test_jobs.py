"""Items run in workers; failures are collected and shards divide the work."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError, VideoError
from pipeline.runner.jobs import JobOptions, finish, run_jobs, take_shard


def invert(value: int) -> float:
    time.sleep(0.01 * (3 - value % 3))  # Items end in another order than they start.
    if value == 0:
        raise VideoError("cannot invert 0")
    return 1 / value


@pytest.mark.parametrize(
    ("jobs", "backend"), [(1, "loky"), (2, "loky"), (2, "threading"), (-1, "threading")]
)
def test_one_bad_item_does_not_stop_the_others(jobs: int, backend: str) -> None:
    """Losing good results to one bad video, or their order, would break every stage."""
    outcome = run_jobs(invert, [4, 0, 2, 1], JobOptions(jobs=jobs, backend=backend), desc="test")
    assert outcome.results == [(4, 0.25), (2, 0.5), (1, 1.0)]
    assert outcome.failures == [(0, "cannot invert 0")]
    assert finish(outcome) == 1


def test_a_programming_error_is_not_taken_for_a_bad_video() -> None:
    """Catching everything would hide defects as 'bad videos'."""
    with pytest.raises(TypeError):
        run_jobs(invert, ["x"], JobOptions(jobs=1), desc="test")  # type: ignore[list-item]


def end_process(value: int) -> int:
    os._exit(9)


def end_process_at_3(value: int) -> int:
    if value == 3:
        os._exit(9)
    return value


@pytest.mark.filterwarnings("ignore")  # The pool complains of the worker that is gone.
def test_a_killed_worker_is_one_clear_line() -> None:
    """A worker killed for lack of memory must not end in a pool's own traceback."""
    with pytest.raises(InputError, match="fewer --jobs"):
        run_jobs(end_process, [1, 2], JobOptions(jobs=2), desc="test")


@pytest.mark.parametrize(
    "options",
    [
        JobOptions(jobs=0),
        JobOptions(jobs=1, backend="dask"),
        JobOptions(jobs=1, backend="loky", scheduler="localhost:1"),
    ],
)
def test_options_that_cannot_work_are_refused(options: JobOptions) -> None:
    """A silent fallback would run on other workers than the user asked for."""
    with pytest.raises(InputError):
        run_jobs(invert, [1], options, desc="test")


@given(st.lists(st.integers(), max_size=30), st.integers(1, 7))
def test_shards_are_a_partition(items: list[int], parts: int) -> None:
    """A video in no shard would be lost; in two shards, computed twice at once."""
    shards = [take_shard(items, f"{part}/{parts}") for part in range(1, parts + 1)]
    assert sorted(itertools.chain(*shards)) == sorted(items)


@pytest.mark.parametrize("shard", ["0/3", "4/3", "2", "a/b", "auto", "-1/2"])
def test_impossible_shards_are_refused(shard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong shard must not silently become all or none of the videos."""
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    with pytest.raises(InputError, match="--shard"):
        take_shard([1, 2, 3], shard)


def test_auto_shard_reads_an_array_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The array 10-16:2 has four tasks; task 14 is the third of them."""
    for name, value in {"ID": "14", "MIN": "10", "STEP": "2", "COUNT": "4"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert take_shard(list(range(8)), "auto") == [2, 6]


def write(path: Path) -> int:
    path.write_text(str(os.getpid()))
    return os.getpid()


def test_workers_stand_where_the_caller_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook that changes its folder, reused workers would write to the folder before."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        run_jobs(write, [Path("a"), Path("b")], JobOptions(jobs=2), desc="test")
        assert {path.name for path in (tmp_path / name).iterdir()} == {"a", "b"}


def full_disk(value: int) -> int:
    raise OSError(28, "No space left on device", "x.h5")


def test_an_error_of_the_system_is_a_failure_of_one_item() -> None:
    """A disk that is full for one video must not end the run with a traceback."""
    outcome = run_jobs(full_disk, [1], JobOptions(jobs=1), desc="test")
    assert outcome.failures == [(1, "x.h5: the disk is full; make room")]


def test_dask_runs_the_same_code(tmp_path: Path) -> None:
    """Scaling out through Dask must need no other code (skipped where it is not installed)."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False
    ) as cluster:
        options = JobOptions(jobs=2, backend="dask", scheduler=cluster.scheduler_address)
        paths = [tmp_path / name for name in "ab"]
        outcome = run_jobs(write, paths, options, desc="test")
    assert [item for item, _ in outcome.results] == paths
    assert all(path.exists() for path in paths)


def slow(item: Path) -> Path:
    item.touch()
    time.sleep(0.2)
    return item


def test_a_killed_dask_scheduler_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An unexpected FutureCancelledError says neither what happened nor what to do."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    start = [sys.executable, "-m"]
    scheduler = subprocess.Popen(
        [*start, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port,
         "--no-dashboard"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    worker = subprocess.Popen(
        [*start, "distributed.cli.dask_worker", address, "--nthreads", "2", "--no-nanny",
         "--no-dashboard"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_workers(address)
        killer = threading.Thread(target=kill_after, args=(tmp_path / "5", scheduler))
        killer.start()
        options = JobOptions(jobs=2, backend="dask", scheduler=address)
        items = [tmp_path / str(number) for number in range(200)]
        with pytest.raises(InputError, match="connection to the Dask scheduler was lost"):
            run_jobs(slow, items, options, desc="test")
        killer.join()
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
    assert "Traceback" not in capfd.readouterr().err


def wait_for_workers(address: str) -> None:
    """Wait until the scheduler has two threads to work with."""
    from distributed import Client

    with Client(address, timeout="60s") as client:
        client.wait_for_workers(1, timeout=60)


def kill_after(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Kill a process as soon as a file is there."""
    while not path.exists():
        time.sleep(0.05)
    process.kill()

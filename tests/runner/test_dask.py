"""A Dask cluster loses a worker or its scheduler: nothing is lost, caches are those of here."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.runner.jobs import JobOptions, run_jobs
from tests.evaluate.material import VIDEOS, write_features
from tests.helpers.places import ROOT
from tests.helpers.shims import run
from tests.helpers.small_video import write_video
from tests.runner.test_jobs import end_process_at_3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

WORKERS = 3
STAGE_ONE = ("--segments", "2", "--candidates", "1", "--stack-length", "4", "--device", "cpu")
FLOW = ("extract-flow", "--engine", "opencv", *STAGE_ONE, "--short-side", "96")
FEATURES = ("extract-features", *STAGE_ONE, "--weights", "random", "--input-size", "128",
            "--fusion-hidden", "16", "--fusion-channels", "8")  # fmt: skip
EVALUATE = ("evaluate", "--device", "cpu", "--segments", "4", "--hidden-size", "8", "--seeds", "1",
            "--epochs", "150", "--folds", "6")  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _distributed() -> None:
    pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make videos, maps with a signal, and what each command gives without a cluster."""
    folder = tmp_path_factory.mktemp("dask")
    for number in range(6):
        write_video(folder / "videos" / f"v{number}.avi", 12 + number)
    write_features(folder / "maps")
    rows = [f"v{a:02},v{b:02}" for a in range(VIDEOS) for b in range(a + 1, VIDEOS)]
    (folder / "pairs.csv").write_text("\n".join(["better,worse", *rows]) + "\n")
    for name in ("flow", "features", "evaluate"):
        done = run(*command(folder, name), "-o", folder / name, "-j", "1")
        assert done.returncode == 0, done.stderr
    return folder


def command(place: Path, name: str) -> tuple[object, ...]:
    return {
        "flow": (*FLOW, place / "videos"),
        "features": (*FEATURES, place / "videos", "--flow", place / "flow"),
        "evaluate": (*EVALUATE, "--features", place / "maps", "--pairs", place / "pairs.csv"),
    }[name]


class Cluster:
    """A scheduler and a process that starts three workers of one thread each, as users start them.

    Lost workers are started again by it.
    """

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        self.address = f"tcp://127.0.0.1:{port}"
        self._log = log
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", port)
        self.workers = self._start("worker", self.address, "--nworkers", WORKERS, "--nthreads", 1)
        self.pids = self.wait()

    def wait(self) -> list[int]:
        """Wait until all workers are there; return their numbers."""
        from distributed import Client

        with Client(self.address, timeout="60s") as client:
            client.wait_for_workers(WORKERS, timeout=120)
            return list(client.run(os.getpid).values())

    def _start(self, kind: str, *arguments: object) -> subprocess.Popen[bytes]:
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, arguments),
                 "--no-dashboard"],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        for process in (self.workers, self.scheduler):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster") / "log")
    try:
        yield started
    finally:
        started.stop()


def writers(output: Path) -> list[int]:
    """Return the processes that write a file below a folder at this moment."""
    return [int(path.name.split("-")[2]) for path in output.rglob(".dexterank-*.tmp*")]


def disturbed(
    cluster: Cluster, place: Path, name: str, output: Path, strike: Callable[[], bool]
) -> tuple[int, str]:
    """Run a command on the cluster, and strike once as soon as that is possible."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, command(place, name)), "-o", str(output),
         "--backend", "dask", "--scheduler", cluster.address],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    struck = False
    while process.poll() is None and not struck:
        struck = strike()
        time.sleep(0.002)
    _, errors = process.communicate(timeout=240)
    assert struck, errors
    return process.returncode, errors


def content(folder: Path) -> dict[str, bytes]:
    """Return caches and tables by name, without files that differ from write to write."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".json", ".safetensors")
    }


@pytest.mark.parametrize("name", ["flow", "features", "evaluate"])
def test_a_killed_worker_loses_nothing(
    cluster: Cluster, place: Path, tmp_path: Path, name: str
) -> None:
    """A video of the killed worker is missing, half, or other than a run on one machine has it."""
    output = tmp_path / "output"
    workers = cluster.wait()

    def strike() -> bool:
        busy = [pid for pid in writers(output) if pid in workers]
        if name == "evaluate" and len(list(output.glob("runs/*.json"))) > 1:
            busy = workers  # Their files are small: nobody is seen writing them.
        if busy:
            os.kill(busy[0], signal.SIGKILL)
        return bool(busy)

    code, errors = disturbed(cluster, place, name, output, strike)
    assert code == 0, errors
    assert "Traceback" not in errors
    assert "unexpected" not in errors
    assert content(output) == content(place / name)


def test_work_that_kills_every_worker_fails_alone(cluster: Cluster) -> None:
    """A video that takes all memory hangs the run for ever."""
    cluster.wait()
    options = JobOptions(jobs=2, backend="dask", scheduler=cluster.address)
    outcome = run_jobs(end_process_at_3, list(range(8)), options, desc="test")
    assert [item for item, _ in outcome.results] == [0, 1, 2, 4, 5, 6, 7]
    ((item, reason),) = outcome.failures
    assert item == 3
    assert "killed one after the other" in reason


def test_a_killed_scheduler_is_one_line_and_the_same_command_goes_on(
    cluster: Cluster, place: Path, tmp_path: Path
) -> None:
    """Finished caches are lost or half, and the reason is a traceback of another library."""
    output = tmp_path / "output"

    def strike() -> bool:
        if begun := any(output.glob("*.h5")):
            cluster.scheduler.kill()
        return begun

    cluster.wait()
    code, errors = disturbed(cluster, place, "flow", output, strike)
    assert code == 2, errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error")]
    assert "the connection to the Dask scheduler was lost" in line
    assert "Traceback" not in errors
    cluster.stop()  # A worker may still be writing.
    whole = content(place / "flow")
    kept = {name: each for name, each in content(output).items() if ".dexterank-" not in name}
    assert kept
    assert kept.items() <= whole.items()
    done = run(*command(place, "flow"), "-o", output, "-j", "1")
    assert done.returncode == 0, done.stderr
    assert content(output) == whole

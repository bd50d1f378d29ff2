"""extract-flow killed, interrupted, or run twice at once: nothing finished is lost or mixed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.cache.folder import cache_problems
from tests.extract_flow.test_extract_flow import FAST, arrays, tree, write_video
from tests.helpers.places import ROOT

ALONE = ["-j", "1"]
THREADS = ["-j", "2", "--backend", "threading"]
PROCESSES = ["-j", "2", "--backend", "loky"]
OPTIONS = ["--plan", "dense", "--stride", "1", "--stack-length", "1", "--engine", "opencv", *FAST]


def start(folder: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    arguments = ["extract-flow", str(folder), "-o", str(output), *OPTIONS, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # signals reach the workers too, as from a terminal or a scheduler
        # Test runners in the background ignore Ctrl-C, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def wait_for_writing(process: subprocess.Popen[str], output: Path) -> None:
    """Wait until a cache is being written, or the command has ended."""
    deadline = time.monotonic() + 30
    while not list(output.rglob(".dexterank-*.tmp")):
        if process.poll() is not None or time.monotonic() > deadline:
            break
        time.sleep(0.002)


def interrupt(
    process: subprocess.Popen[str], output: Path, send: Callable[[int, int], None] = os.killpg
) -> None:
    """Send Ctrl-C once a cache is being written, and check how the command ends."""
    wait_for_writing(process, output)
    send(process.pid, signal.SIGINT)
    code, errors = finish(process)
    assert code == 130
    assert "Traceback" not in errors
    assert "interrupted" in errors


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "videos"
    for number in range(4):
        write_video(folder / f"{number}.avi", 90, number)  # under way for half a second
    return folder


@pytest.fixture(scope="module")
def undisturbed(videos: Path) -> Path:
    output = videos.parent / "undisturbed"
    code, errors = finish(start(videos, output, "-j", "1"))
    assert code == 0, errors
    return output


def whole_or_absent(output: Path) -> bool:
    return all(cache_problems(path) == [] for path in output.rglob("*.h5"))


@pytest.mark.parametrize("workers", [ALONE, THREADS, PROCESSES], ids=" ".join)
def test_killed_at_any_moment_and_started_again(
    tmp_path: Path, videos: Path, undisturbed: Path, workers: list[str]
) -> None:
    """A kill -9 (scheduler, power) leaves a broken cache, a stale one, litter, or other flow."""
    rng = np.random.default_rng(len(workers[-1]))
    killed = 0
    for _ in range(3):
        process = start(videos, tmp_path, *workers)
        wait_for_writing(process, tmp_path)
        time.sleep(rng.uniform(0, 0.15))
        with suppress(ProcessLookupError):  # a fast machine may be done before the third kill
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert whole_or_absent(tmp_path)
    assert killed
    code, errors = finish(start(videos, tmp_path, *workers))
    assert code == 0, errors
    # The whole files are equal, temporaries are gone: more than equal datasets.
    assert tree(tmp_path) == tree(undisturbed)


@pytest.mark.parametrize("workers", [ALONE, THREADS, PROCESSES], ids=" ".join)
def test_interrupt_leaves_whole_caches_only(
    tmp_path: Path, videos: Path, workers: list[str]
) -> None:
    """Ctrl-C ends with a traceback, another exit code, or half a cache; threads go on, or crash.

    Python's shutdown crashes where threads are in native code.
    """
    for number in range(3):
        output = tmp_path / str(number)
        interrupt(start(videos, output, *workers), output)
        assert whole_or_absent(output)
        assert all(name.endswith((".h5", ".tmp")) for name in tree(output))
    # Crash-only: temporaries stay, and the next run removes them.
    assert finish(start(videos, output, *workers))[0] == 0
    assert all(name.endswith(".h5") for name in tree(output))


@pytest.mark.parametrize("send", [os.killpg, os.kill], ids=["all", "command"])
def test_interrupt_of_a_video_with_all_workers(
    tmp_path: Path, send: Callable[[int, int], None]
) -> None:
    """Threads of a split video go on, hang, or crash the interpreter while it shuts down."""
    # Long enough to be still under way when the signal comes.
    video = write_video(tmp_path / "long.avi", 1500)
    output = tmp_path / "flow"
    interrupt(start(video, output, "-j", "2"), output, send)
    assert all(name.endswith(".tmp") for name in tree(output))


def test_two_runs_into_one_folder(tmp_path: Path, videos: Path, undisturbed: Path) -> None:
    """Two runs at once sweep each other's files away, or mix their fields."""
    both = [start(videos, tmp_path, "-j", "1") for _ in range(2)]
    for process in both:
        code, errors = finish(process)
        assert code == 0, errors
    assert tree(tmp_path) == tree(undisturbed)


def test_reading_while_a_run_writes(tmp_path: Path, videos: Path, undisturbed: Path) -> None:
    """A later stage that starts early reads half a file, or stops the writer by a lock."""
    process = start(videos, tmp_path, "-j", "1")
    seen = 0
    while process.poll() is None:
        for path in tmp_path.glob("*.h5"):
            with h5py.File(path, locking="best-effort") as file:
                assert file.attrs["complete"]
                seen += 1
        time.sleep(0.01)
    assert finish(process)[0] == 0
    assert seen > 0
    for path in tmp_path.glob("*.h5"):
        assert arrays(path) == arrays(undisturbed / path.name)

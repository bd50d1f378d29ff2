"""Signals end a command at once, with its workers and with one line; so does the parent's death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the workers in /proc")

# A command whose workers sleep; they say who they are in a folder.
SCRIPT = """
import os, sys, time
from pathlib import Path
from pipeline import cli
from pipeline.runner.jobs import JobOptions, run_jobs

def work(number):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)

@cli.cli.command("work")
def command():
    run_jobs(work, range(6), JobOptions(jobs=int(sys.argv[2]), backend=sys.argv[3]), desc="x")
"""
START = """
import script
from pipeline import cli
from pipeline.runner.signals import leave, leave_on_signals

leave_on_signals()
try:
    cli.cli.main(["work"])
except SystemExit as end:
    leave(end.code)
"""
KINDS = [("1", "auto"), ("2", "threading"), ("2", "loky")]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "start.py").write_text(START)
    (tmp_path / "workers").mkdir()
    return tmp_path


def start(place: Path, jobs: str, backend: str, *before: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, str(place / "start.py"), str(place / "workers"), jobs, backend],
        cwd=place,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{place}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Test runners in the background ignore Ctrl-C, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_work(process: subprocess.Popen[str], place: Path, jobs: str) -> list[int]:
    """Wait until workers are at work; return their numbers."""
    deadline = time.monotonic() + 60
    workers = place / "workers"
    while process.poll() is None and time.monotonic() < deadline:
        numbers = [int(path.name) for path in workers.iterdir()]
        if len(numbers) == (int(jobs) if numbers != [process.pid] else 1):
            return numbers
        time.sleep(0.01)
    raise AssertionError(f"no work was begun: {process.communicate()}")


def gone(numbers: list[int], within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        alive = [number for number in numbers if Path(f"/proc/{number}/cmdline").exists()]
        alive = [n for n in alive if "Z" not in Path(f"/proc/{n}/stat").read_text().split()[2:3]]
        if not alive:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("jobs", "backend"), KINDS)
@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGINT, "error: interrupted; finished files are whole"),
        (signal.SIGTERM, "error: terminated; finished files are whole"),
        (signal.SIGHUP, "error: terminated; finished files are whole"),
    ],
)
def test_a_signal_ends_the_command_and_its_workers(
    place: Path, jobs: str, backend: str, number: signal.Signals, line: str
) -> None:
    """SIGTERM says nothing and leaves workers behind; Ctrl-C waits for their work."""
    process = start(place, jobs, backend)
    workers = wait_for_work(process, place, jobs)
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)  # returns when the workers are gone as well
    assert process.returncode == 128 + number, errors
    (said,) = [text for text in errors.splitlines() if "x:" not in text and text.strip()]
    assert said.startswith(line)
    assert gone(workers, 5)


@pytest.mark.parametrize("after", [0.0, 0.1, 0.5])
def test_ctrl_c_of_the_terminal_while_workers_start_is_silent(place: Path, after: float) -> None:
    """Workers that meet Ctrl-C while they start print a traceback each."""
    process = start(place, "2", "loky")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    # The first children are those that track resources; then come the workers.
    while process.poll() is None and len(children.read_text().split()) < 3:
        time.sleep(0.002)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert "Warning" not in errors


def test_workers_end_with_a_parent_that_is_killed(place: Path) -> None:
    """After kill -9 of the command alone its workers hold gigabytes for minutes."""
    process = start(place, "2", "loky")
    workers = wait_for_work(process, place, "2")
    process.kill()
    process.communicate()
    try:
        assert gone(workers, 10)
    finally:
        for number in workers:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def test_nohup_stays_in_force(place: Path) -> None:
    """A run under nohup ends with the terminal."""
    process = start(place, "1", "auto", "nohup")
    wait_for_work(process, place, "1")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143

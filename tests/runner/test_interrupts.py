"""Ctrl-C ends a command with its own code, wherever it strikes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from pipeline.runner.interrupts import check_interrupts, interrupts_held, interrupts_noted
from pipeline.runner.jobs import JobOptions, run_jobs
from tests.helpers.places import ROOT


def swallowed() -> None:
    """Meet Ctrl-C in the callback of a weak reference, where Python drops the exception."""

    class Short:
        pass

    short = Short()
    watch = weakref.ref(short, lambda _: signal.raise_signal(signal.SIGINT))
    del short
    assert watch() is None


def disguised(item: object = None) -> None:
    """Meet Ctrl-C as HDF5's binding does: it becomes an error of another kind."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise OSError("unable to lock file") from None


def rounds_after(meet: Callable[[], None]) -> int:
    """Count the rounds that a loop does after a Ctrl-C."""
    done = 0

    def loop() -> None:
        nonlocal done
        with interrupts_noted():
            meet()
            for _ in range(3):
                done += 1
                check_interrupts()

    with pytest.raises(KeyboardInterrupt):
        loop()
    return done


@pytest.mark.parametrize("meet", [swallowed, disguised])
def test_the_command_ends_as_interrupted(
    meet: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is followed by exit code 0 or 1, and a script goes on with its next command."""
    monkeypatch.setattr("click.Group.main", lambda *args, **kwargs: meet())
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert "Traceback" not in result.stderr
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_long_loop_notices() -> None:
    """A run of hours goes on to its end after a Ctrl-C that got lost."""
    assert rounds_after(swallowed) == 1


def test_an_interrupt_is_no_failure_of_an_item() -> None:
    """The video at hand is listed as broken, and the next one begins."""
    met: list[int] = []

    def task(item: int) -> None:
        met.append(item)
        disguised()

    with pytest.raises(KeyboardInterrupt), interrupts_noted():
        run_jobs(task, [1, 2], JobOptions(jobs=1), desc="test")
    assert met == [1]


def test_threads_are_stopped_and_waited_for() -> None:
    """After an error, or Ctrl-C in a notebook, threads compute and write for hours unseen."""
    began, ended = threading.Event(), threading.Event()

    def task(item: int) -> None:
        if item:
            began.wait(10)
            raise RuntimeError("a defect")
        began.set()
        try:
            for _ in range(3000):
                check_interrupts()
                time.sleep(0.01)
        finally:
            time.sleep(0.1)  # so that not waiting would show
            ended.set()

    with pytest.raises(RuntimeError, match="a defect"):
        run_jobs(task, [0, 1], JobOptions(2, "threading"), desc="test")
    assert ended.is_set()
    check_interrupts()  # this thread goes on


MODULE = """
import multiprocessing.dummy  # while it is imported, text is executed
import signal
from pipeline import cli

@cli.cli.command("work")
def command():
    exec("signal.raise_signal(signal.SIGINT)")

cli.main()
"""


def test_the_exit_code_does_not_depend_on_where_it_strikes(tmp_path: Path) -> None:
    """`python -m pipeline` dies of a signal, which a scheduler takes for a crash."""
    (tmp_path / "starter.py").write_text(MODULE)
    done = subprocess.run(
        [sys.executable, "-m", "starter", "work"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("struck", [False, True])
def test_threads_that_ctrl_c_ends_are_silent_and_others_are_not(
    struck: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C shows a traceback of joblib's threads, or the defects of threads are hidden."""
    told: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda lost: told.append(lost.exc_type))
    with suppress(KeyboardInterrupt), interrupts_noted():
        if struck:
            swallowed()
        thread = threading.Thread(target=int, args=("x",))
        thread.start()
        thread.join()
    assert told == ([] if struck else [ValueError])


def test_held_back_then_noted() -> None:
    """An interrupt while workers start is lost for the loops after."""

    def meet() -> None:
        with suppress(KeyboardInterrupt), interrupts_held():
            signal.raise_signal(signal.SIGINT)

    assert rounds_after(meet) == 1


def test_a_handler_of_others_stays() -> None:
    """A program that uses ours, or nohup, loses its own way with Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_noted():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
            check_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)

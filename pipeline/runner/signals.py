"""One signal ends the command and all its workers; so does the end of the parent.

Crash-only: whatever stops the program, files on disk are whole or absent, so nothing is cleaned up
on the way out. A signal prints one line and ends this process and its workers at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from pipeline.shell.console import fail


def leave_on_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP end this process and its workers, with one line.

    A signal that is ignored, as `nohup` has it, stays ignored.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave_on_signal)


def _leave_on_signal(number: int, frame: FrameType | None) -> NoReturn:
    message = "interrupted" if number == signal.SIGINT else "terminated"
    message += "; finished files are whole, run the same command to go on"
    try:
        fail(message)
    except RuntimeError:  # The signal struck while the same stream was written to.
        os.write(2, f"error: {message}\n".encode())
    leave(128 + number)


def leave(code: int) -> NoReturn:
    """End this process and its workers, without Python's shutdown.

    That takes a third of a second where numba is loaded, waits for threads, and crashes where
    threads are in native code.
    """
    kill = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows knows the latter alone.
    for worker in _children():
        with suppress(OSError, TypeError):  # It has ended, or has not begun.
            os.kill(worker.pid, kill)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _children() -> list[Any]:
    module = sys.modules.get("multiprocessing")  # Not imported, it has started no process.
    return module.active_children() if module else []


def serve(parent: int) -> None:
    """Set up a worker process: the parent answers signals, and the worker ends with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keep worker processes that start in the block from answering Ctrl-C with a traceback.

    They inherit a mask that blocks SIGINT; here it takes effect after the block. The process that
    cleans up after loky inherits a filter for its warnings about workers that were killed.
    """
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # It would unblock the signal.
    name, filters = "PYTHONWARNINGS", os.environ.get("PYTHONWARNINGS")
    os.environ[name] = ",".join(filter(None, (filters, "ignore:resource_tracker")))
    blocking = hasattr(signal, "pthread_sigmask")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if blocking else None
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if filters is None:
            del os.environ[name]
        else:
            os.environ[name] = filters

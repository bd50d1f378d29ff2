"""Ctrl-C: never lost on the way, and kept from processes that whoever started them ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started in the block, from their first moment on.

    A process that meets it while it imports prints a traceback of its own. In this process it
    takes effect after the block. Only the main thread may set signals; elsewhere nothing changes.
    """
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # when it starts, it lets signals through
    caught: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # new processes inherit it
    try:
        # Threads that were there before take the signal all the same. Were it ignored, it would be
        # lost.
        handler = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
        try:
            with _leftovers_untold():
                yield
        finally:
            signal.signal(signal.SIGINT, handler)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if caught:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _leftovers_untold() -> Iterator[None]:
    """Have the process that cleans up after joblib's workers, if started here, be silent.

    It would tell what workers left that Ctrl-C ended while they started.
    """
    given = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (given, "ignore:resource_tracker")))
    try:
        yield
    finally:
        if given is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = given


#: Seconds for which tasks in threads are waited for after Ctrl-C.
PATIENCE_S = 5.0
# A list, because a lock could be held already where the next signal strikes.
_noted: list[int] = []
# `told`: the event that ends what this thread does.
_here = threading.local()


@contextmanager
def interrupts_noted() -> Iterator[None]:
    """See to it that a Ctrl-C in the block ends it with KeyboardInterrupt.

    Python raises that wherever the main thread happens to be, and it is lost in the callback of a
    weak reference; HDF5's binding makes other errors of it. So it is noted as well: an error after
    it, or an end as if nothing had been, is KeyboardInterrupt too. Only the main thread may set
    signals; elsewhere, and where somebody else handles Ctrl-C, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        _noted.append(number)
        raise KeyboardInterrupt

    def drop(lost: sys.UnraisableHookArgs) -> None:
        # It was noted; Python would print a traceback.
        if lost.exc_type is not KeyboardInterrupt:
            hook(lost)

    def drop_in_thread(lost: threading.ExceptHookArgs) -> None:
        # joblib's own threads fail where Ctrl-C ends them while they start workers.
        if not _noted:
            thread_hook(lost)

    hook, sys.unraisablehook = sys.unraisablehook, drop
    thread_hook, threading.excepthook = threading.excepthook, drop_in_thread
    signal.signal(signal.SIGINT, note)
    try:
        yield
        check_interrupts()
    except Exception:
        check_interrupts()
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook, threading.excepthook = hook, thread_hook
        _noted.clear()


class StoppedError(Exception):
    """The command has ended, and nobody waits for the result of this thread."""


class Threads:
    """Tasks of a command's threads, which nothing can end from outside: they are told to."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._running = 0
        self._ended = threading.Condition()

    @contextmanager
    def task(self) -> Iterator[None]:
        """Let `check_interrupts` in the block, in this thread, raise StoppedError after `stop`."""
        with self._ended:
            self._running += 1
        _here.told = self._told
        try:
            check_interrupts()
            yield
        finally:
            _here.told = None
            with self._ended:
                self._running -= 1
                self._ended.notify_all()

    def stop(self) -> None:
        """Tell tasks to end where they next look, and wait, for those that do not look so long."""
        self._told.set()
        with self._ended:
            self._ended.wait_for(lambda: not self._running, PATIENCE_S)


def check_interrupts() -> None:
    """Raise what ends this thread, if anything does; to be called now and then in long loops.

    Raises
    ------
    KeyboardInterrupt
        In the main thread, where one got lost.
    StoppedError
        In a task of `Threads` that were stopped.
    """
    if _noted and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt
    told: threading.Event | None = getattr(_here, "told", None)
    if told is not None and told.is_set():
        raise StoppedError

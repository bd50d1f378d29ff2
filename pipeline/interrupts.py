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
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if caught:
            signal.raise_signal(signal.SIGINT)


# A list, because a lock could be held already where the next signal strikes.
_noted: list[int] = []


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

    hook, sys.unraisablehook = sys.unraisablehook, drop
    signal.signal(signal.SIGINT, note)
    try:
        yield
        check_interrupts()
    except Exception:
        check_interrupts()
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = hook
        _noted.clear()


def check_interrupts() -> None:
    """Raise KeyboardInterrupt where one got lost; to be called now and then in long loops."""
    if _noted and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt

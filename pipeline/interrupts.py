"""Starting processes that Ctrl-C does not reach: whoever started them ends them, in silence."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started in the block, from their first moment on.

    A process that meets it while it imports prints a traceback of its own. In this process it
    takes effect after the block. Only the main thread may set signals; elsewhere nothing changes.
    """
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        yield
        return
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

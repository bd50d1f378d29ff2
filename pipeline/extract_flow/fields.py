"""TV-L1 fields of pairs of frames: in this thread, in several, or on a GPU.

However many threads there are, fields come in the order of the pairs, and the number of pairs
under way is bounded, so that memory does not grow with the video. Threads, not processes: engines
compute without the interpreter lock, while a process would load the engine again, which takes a
second, and pass every frame and field through a pipe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np

from model.tvl1 import engines
from model.tvl1.frames import MIN_SIDE
from model.tvl1.options import TVL1Options
from pipeline.extract_flow.settings import FlowTask
from pipeline.shell.console import log

#: Pairs under way for each worker: one computed, the next waiting, one in reserve for slow pairs.
AHEAD = 3

FramePairs = Iterator[tuple[np.ndarray, np.ndarray]]


def compute_fields(
    pairs: FramePairs,
    task: FlowTask,
    executor: Executor | None = None,
    workers: int = 1,
    name: str = "flow",
) -> Iterator[np.ndarray]:
    """Yield the (H, W, 2) float32 field of each pair, in order.

    Parameters
    ----------
    pairs : iterator of two (H, W) uint8 grey frames
        Read by this thread while others compute.
    task : FlowTask
    executor : Executor, optional
        As `worker_threads` gives it; without one this thread computes.
    workers : int
        How many the executor has.
    name : str
        What to call the video in a warning.

    Raises
    ------
    ValueError
        A GPU cannot compute even a single pair.
    """
    if task.engine == "cuda":
        from model.tvl1.cuda.calc import calc_stream

        yield from calc_stream(
            pairs, task.tvl1, task.device, on_shrink=partial(_warn_of_shrinking, name)
        )
    elif executor is None:
        for first, second in pairs:
            yield compute_field(first, second, task.engine, task.tvl1)
    else:
        yield from _compute_ahead(pairs, task, executor, AHEAD * workers)


def _warn_of_shrinking(name: str, before: int, after: int) -> None:
    log.warning(
        "%s: the GPU has no memory for %d pairs at a time; going on with %d", name, before, after
    )


def _compute_ahead(
    pairs: FramePairs, task: FlowTask, executor: Executor, most: int
) -> Iterator[np.ndarray]:
    """Keep every worker supplied with pairs, `most` at a time, and yield their fields in order."""
    under_way: deque[Future[np.ndarray]] = deque()
    for first, second in pairs:
        under_way.append(executor.submit(compute_field, first, second, task.engine, task.tvl1))
        if len(under_way) >= most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def compute_field(
    first: np.ndarray, second: np.ndarray, engine: str, options: TVL1Options
) -> np.ndarray:
    """Flow of one pair of grey frames: (H, W, 2) float32 px; equal frames are exactly zero."""
    if np.array_equal(first, second):
        return np.zeros((*first.shape, 2), np.float32)
    return np.asarray(engines.load(engine)(first, second, options))


@contextmanager
def worker_threads(workers: int) -> Iterator[Executor | None]:
    """Threads that end with the block, with the pairs that they are at; None for one worker."""
    if workers == 1:
        yield None
        return
    threads = ThreadPoolExecutor(workers)
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def warm_up(engine: str) -> None:
    """Compile, or load, the engine; later calls, and processes started later, need not again."""
    frames = np.random.default_rng(0).integers(0, 256, (2, MIN_SIDE, MIN_SIDE), np.uint8)
    compute_field(frames[0], frames[1], engine, TVL1Options(inner=1, outer=1, warps=1))

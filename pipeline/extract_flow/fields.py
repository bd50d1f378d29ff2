"""From a video to TV-L1 fields: grey frames two by two, and the flow of each pair, in order.

However many threads there are, the number of pairs under way is bounded, so that memory does not
grow with the video. Threads, not processes: the engines compute without the interpreter lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

import cv2
import numpy as np

from data.video.reading import read_frames
from model.tvl1 import engines
from model.tvl1.frames import MIN_SIDE
from model.tvl1.options import TVL1Options
from pipeline.extract_flow.settings import FlowSettings
from pipeline.shell.console import log

#: Pairs under way for each worker: one computed, the next waiting, one in reserve for slow pairs.
AHEAD = 3

FramePairs = Iterator[tuple[np.ndarray, np.ndarray]]


def prepare(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Grey picture that flow is computed on.

    Parameters
    ----------
    frame : ndarray (H, W, 3) uint8
        BGR, as OpenCV decodes it; grey levels from RGB would be others.
    size : (int, int)
        Width and height wanted, px.

    Returns
    -------
    ndarray (height, width) uint8
        Resized by area where both sides shrink, which keeps fine texture from flickering, and
        linearly otherwise.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    if (width, height) == size:
        return grey
    shrinks = size[0] <= width and size[1] <= height
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def read_pairs(
    path: Path, pairs: np.ndarray, size: tuple[int, int], times: np.ndarray | None = None
) -> FramePairs:
    """Yield the two prepared frames of each pair (P, 2), in order, in one pass over the video.

    Neither column goes back; each frame is converted once and kept while a later pair needs it.
    `times` are the seconds of all frames, where they are known.
    """
    wanted = np.unique(pairs)
    frames = read_frames(path, wanted, None if times is None else times[wanted])
    held: dict[int, np.ndarray] = {}
    for first, second in pairs.tolist():
        while second not in held:
            index, frame = next(frames)
            held[index] = prepare(frame, size)
        for index in [index for index in held if index < first]:
            del held[index]
        yield held[first], held[second]


def compute_fields(
    pairs: FramePairs, settings: FlowSettings, pool: Executor | None, workers: int, name: str
) -> Iterator[np.ndarray]:
    """Yield the (H, W, 2) float32 field of each pair of grey frames, in order.

    Without a pool this thread computes; the CUDA engine takes many pairs at a time.

    Raises
    ------
    ValueError
        A GPU has no memory for a single pair.
    """
    if settings.engine == "cuda":
        from model.tvl1.cuda.calc import calc_stream

        def shrunk(before: int, after: int) -> None:
            log.warning("%s: no GPU memory for %d pairs at a time; now %d", name, before, after)

        yield from calc_stream(pairs, settings.tvl1, settings.device, on_shrink=shrunk)
    elif pool is None:
        for first, second in pairs:
            yield compute_field(first, second, settings.engine, settings.tvl1)
    else:
        under_way: deque[Future[np.ndarray]] = deque()
        for first, second in pairs:
            job = pool.submit(compute_field, first, second, settings.engine, settings.tvl1)
            under_way.append(job)
            if len(under_way) >= AHEAD * workers:
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


def warm_up(engine: str) -> None:
    """Compile, or load, the engine; later calls, and processes started later, need not again."""
    frames = np.random.default_rng(0).integers(0, 256, (2, MIN_SIDE, MIN_SIDE), np.uint8)
    compute_field(frames[0], frames[1], engine, TVL1Options(inner=1, outer=1, warps=1))

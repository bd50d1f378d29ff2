"""Flow of one video, in a worker: scan, plan, compute every pair once, write one cache.

Nothing holds a video: frames stream from one reader, at most a few pairs a worker are under way,
and fields are written in order as they come.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data import cache
from data.cache_header import Header
from data.errors import VideoError
from data.flow_cache import create_flow
from data.options import FlowOptions, PlanOptions
from data.sampling import plan_snippets
from data.sources import Source
from data.video import read_frames, scan
from data.video_info import VideoInfo
from model.tvl1 import engines
from model.tvl1.options import TVL1Options
from pipeline.console import progress

#: Pairs under way for each worker: one computed, the next waiting, one in reserve for slow pairs.
AHEAD = 3
#: TV-L1's pyramid has no level with a shorter side; smaller frames give no usable flow.
MIN_SIDE = 16


@dataclass(frozen=True)
class FlowTask:
    """What a worker needs to know beside the video; small and picklable.

    Attributes
    ----------
    output : Path
        Root of the caches.
    plan, flow, tvl1
        The options.
    engine : str
        Name of a TV-L1 engine that is available.
    device : str
        Where the CUDA engine runs.
    parameters, versions : dict
        As recorded in the header of each cache.
    strict : bool
        Whether damaged videos fail.
    """

    output: Path
    plan: PlanOptions
    flow: FlowOptions
    tvl1: TVL1Options
    engine: str
    device: str
    parameters: dict[str, object]
    versions: dict[str, str]
    strict: bool = False


@dataclass(frozen=True)
class FlowResult:
    """What became of one video.

    Attributes
    ----------
    path : Path
        Its cache.
    frames, pairs : int
        Decoded frames and stored fields.
    computed : bool
        False when a valid cache was there already.
    clipped : float
        Share of the flow values beyond the bound.
    warnings : tuple of str
        What was odd about the video.
    scan_s, flow_s : float
        Wall time of scanning, and of reading, computing and writing, in seconds.
    """

    path: Path
    frames: int
    pairs: int
    computed: bool
    clipped: float
    warnings: tuple[str, ...]
    scan_s: float = 0.0
    flow_s: float = 0.0


def extract_one(
    source: Source, task: FlowTask, workers: int = 1, backend: str = "loky"
) -> FlowResult:
    """Compute the flow cache of one video.

    Parameters
    ----------
    source : Source
    task : FlowTask
    workers : int
        Pairs computed at the same time; with 1 everything runs in this thread.
    backend : {"loky", "threading"}
        Processes or threads for the pairs, where there are several workers.

    Raises
    ------
    VideoError
        The video cannot be read, or is too short or too small for flow.
    CacheError
        The cache cannot be written.
    """
    cv2.setNumThreads(1)
    start = time.perf_counter()
    info = scan(source.path, strict=task.strict)
    try:
        pairs = plan_snippets(info.times, task.plan).pairs
    except ValueError as error:
        raise VideoError(f"{source.path}: {error}") from error
    size = _target_size(info, task.flow)
    scanned = time.perf_counter()
    path = cache.cache_path(task.output, source.key)
    with (
        create_flow(
            path,
            _header(info, task),
            pairs=pairs,
            frame_time=info.times,
            height=size[1],
            width=size[0],
            bound=task.flow.bound,
            dtype=task.flow.dtype,
        ) as writer,
        _progress(source, len(pairs), workers) as advance,
    ):
        fields = compute_fields(read_pairs(source.path, pairs, size), task, workers, backend)
        for row, field in enumerate(fields):
            writer.put(row, field)
            advance()
    return FlowResult(
        path=path,
        frames=info.frames,
        pairs=len(pairs),
        computed=True,
        clipped=writer.clipped,
        warnings=info.warnings,
        scan_s=scanned - start,
        flow_s=time.perf_counter() - scanned,
    )


def _target_size(info: VideoInfo, options: FlowOptions) -> tuple[int, int]:
    """Width and height of the fields; VideoError when no flow can be computed at that size."""
    width, height = options.target_size(info.width, info.height)
    if min(width, height) < MIN_SIDE:
        raise VideoError(
            f"{info.path}: flow needs frames of at least {MIN_SIDE}x{MIN_SIDE} px,"
            f" found {width}x{height}; enlarge them with --size"
        )
    return width, height


def _header(info: VideoInfo, task: FlowTask) -> Header:
    """Header of a video's flow cache."""
    return Header(
        kind="flow",
        source=str(Path(info.path).absolute()),
        source_size=info.size,
        source_digest=info.digest,
        decoded_frames=info.frames,
        claimed_frames=info.claimed_frames,
        rotation=info.rotation,
        parameters=task.parameters,
        versions=task.versions,
        warnings=info.warnings,
    )


@contextmanager
def _progress(source: Source, pairs: int, workers: int) -> Iterator[Callable[[], object]]:
    """Show pairs as they are done where this video has all workers; otherwise videos are shown."""
    if workers == 1:
        yield lambda: None
        return
    with progress(total=pairs, desc=source.key, unit="pair") as bar:
        yield bar.update


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
        Grey first, then resized: by area where both sides shrink, which keeps fine texture from
        flickering, and linearly otherwise.
    """
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    height, width = grey.shape
    if (width, height) == size:
        return grey
    shrinks = size[0] <= width and size[1] <= height
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


#: How `prepare` works, as recorded in the caches.
PREPARATION = "grey, then area (shrinking) or linear"


def read_pairs(
    path: Path, pairs: np.ndarray, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the two prepared frames of each pair, in order, in one pass over the video.

    Parameters
    ----------
    path : Path
    pairs : ndarray (P, 2) int64
        Sorted; neither column goes back. Each frame is converted once and kept only while a
        later pair may need it.
    size : (int, int)
        Width and height, px.
    """
    frames = read_frames(path, np.unique(pairs))
    held: dict[int, np.ndarray] = {}
    for first, second in pairs.tolist():
        while second not in held:
            index, frame = next(frames)
            held[index] = prepare(frame, size)
        for index in [index for index in held if index < first]:
            del held[index]
        yield held[first], held[second]


def compute_fields(
    pairs: Iterator[tuple[np.ndarray, np.ndarray]], task: FlowTask, workers: int, backend: str
) -> Iterator[np.ndarray]:
    """Yield the (H, W, 2) float32 field of each pair, in order.

    With several workers this thread reads ahead while they compute; the number of pairs under
    way is bounded, so memory does not grow with the video.
    """
    if task.engine == "cuda":
        from model.tvl1.cuda import calc_stream

        yield from calc_stream(pairs, task.tvl1, task.device)
    elif workers == 1:
        for first, second in pairs:
            yield compute_field(first, second, task.engine, task.tvl1)
    else:
        yield from _compute_ahead(pairs, task, workers, backend)


def _compute_ahead(
    pairs: Iterator[tuple[np.ndarray, np.ndarray]], task: FlowTask, workers: int, backend: str
) -> Iterator[np.ndarray]:
    """Keep every worker supplied with pairs, and yield their fields in order."""
    with _executor(backend, workers) as executor:
        under_way: deque[Future[np.ndarray]] = deque()
        try:
            for first, second in pairs:
                under_way.append(
                    executor.submit(compute_field, first, second, task.engine, task.tvl1)
                )
                if len(under_way) >= AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def compute_field(
    first: np.ndarray, second: np.ndarray, engine: str, options: TVL1Options
) -> np.ndarray:
    """Flow of one pair of grey frames: (H, W, 2) float32 px; equal frames are exactly zero."""
    if np.array_equal(first, second):
        return np.zeros((*first.shape, 2), np.float32)
    return np.asarray(engines.load(engine)(first, second, options))


@contextmanager
def _executor(backend: str, workers: int) -> Iterator[Executor]:
    """Threads, or processes of one thread each, that end with the block."""
    if backend == "threading":
        with ThreadPoolExecutor(workers) as threads:
            yield threads
        return
    # A pool of its own: joblib's reusable one has another type and may not be shared.
    from joblib.externals.loky import ProcessPoolExecutor

    executor: Any = ProcessPoolExecutor(
        workers, initializer=cv2.setNumThreads, initargs=(1,), env={"OMP_NUM_THREADS": "1"}
    )
    try:
        yield executor
    finally:
        executor.shutdown(kill_workers=True)


def warm_up(engine: str) -> None:
    """Compile, or load, the engine once before workers start, so that none compiles again."""
    frames = np.random.default_rng(0).integers(0, 256, (2, MIN_SIDE, MIN_SIDE), np.uint8)
    compute_field(frames[0], frames[1], engine, TVL1Options(inner=1, outer=1, warps=1))

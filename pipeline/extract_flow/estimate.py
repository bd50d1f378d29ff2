"""What an extract-flow run would cost, from the videos' headers and a few measured pairs."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from data.cache.flow import quantise
from data.errors import InputError
from data.sources import Source
from data.video.claims import claimed_shape
from pipeline.extract_flow.fields import compute_fields, warm_up
from pipeline.extract_flow.frames import read_pairs
from pipeline.extract_flow.schedule import planned_pairs
from pipeline.extract_flow.settings import FlowTask
from pipeline.runner.jobs import JobOptions
from pipeline.shell.console import emit
from pipeline.shell.words import format_bytes, format_duration

#: Videos that are measured at most, and pairs of all of them together: pairs of one video differ
#: in cost by a factor of two and more, with how much moves.
MEASURED_VIDEOS = 4
MEASURED_PAIRS = 12
#: Pairs of each on a GPU, which takes about as long for a hundred pairs as for one.
MEASURED_PAIRS_CUDA = 264
#: Measured pairs lie among a video's first frames, because reaching others means decoding so far.
MEASURED_FRAMES = 300


@dataclass(frozen=True)
class Estimate:
    """Totals over the videos to do.

    Attributes
    ----------
    unknown : int
        Videos whose header says nothing usable; they are not in the totals.
    pairs : int
    size : float
        Bytes of the caches.
    seconds_per_pair : float or None
        Mean time of one pair in one worker; None when none could be measured.
    seconds : float
        Of the whole run.
    workers : int
    """

    unknown: int
    pairs: int
    size: float
    seconds_per_pair: float | None
    seconds: float
    workers: int


def show(
    sources: Sequence[Source], todo: Sequence[Source], task: FlowTask, jobs: JobOptions, seed: int
) -> None:
    """Print what a run would do."""
    emit(
        f"videos    {len(sources)}, of which {len(sources) - len(todo)} done and {len(todo)} to do"
    )
    if not todo:
        emit("nothing to do")
        return
    found = estimate(todo, task, jobs, seed)
    if found.unknown:
        emit(f"unknown   {found.unknown} of these say nothing usable in their headers")
    emit(f"pairs     about {found.pairs:,} (by the videos' headers)")
    emit(f"size      about {format_bytes(found.size)}")
    if found.seconds_per_pair is None:
        emit("time      unknown: no pair could be measured")
    else:
        workers = "1 worker" if found.workers == 1 else f"{found.workers} workers"
        emit(
            f"time      about {format_duration(found.seconds)} with {workers}"
            f" ({found.seconds_per_pair * 1000:.0f} ms a pair, engine {task.engine})"
        )
    emit("nothing was written")


def estimate(todo: Sequence[Source], task: FlowTask, jobs: JobOptions, seed: int) -> Estimate:
    """Estimate pairs, bytes and time of computing some videos."""
    areas: list[tuple[int, int]] = []  # pairs and pixels a field of each video
    decoded = 0  # source pixels, each decoded twice: by the scan and by the reader
    for source in todo:
        shape = claimed_shape(source.path)
        if shape is None:
            continue
        frames, width, height, fps = shape
        flow_width, flow_height = task.flow.target_size(width, height)
        areas.append((planned_pairs(frames, fps, task.plan), flow_width * flow_height))
        decoded += 2 * frames * width * height
    measured = list(_measure(todo, task, np.random.default_rng(seed)))
    pairs = sum(count for count, _ in areas)
    pixels = sum(count * area for count, area in areas)
    workers = 1 if task.engine == "cuda" else jobs.workers(1 << 30)
    known = [each for each in measured if each.pixels]
    if not known:
        raw = 2 * pixels * np.dtype(task.flow.dtype).itemsize
        return Estimate(len(todo) - len(areas), pairs, raw, None, 0.0, workers)
    per_pixel = sum(each.seconds for each in known) / sum(each.pixels for each in known)
    bytes_per_pixel = sum(each.size for each in known) / sum(each.pixels for each in known)
    decode_rate = sum(each.decode_s for each in known) / sum(each.decoded for each in known)
    return Estimate(
        unknown=len(todo) - len(areas),
        pairs=pairs,
        size=pixels * bytes_per_pixel,
        seconds_per_pair=per_pixel * pixels / pairs if pairs else None,
        seconds=(per_pixel * pixels + decode_rate * decoded) / workers,
        workers=workers,
    )


@dataclass(frozen=True)
class _Measured:
    """One video's sample: totals over its measured pairs."""

    pixels: int
    seconds: float
    size: int
    decoded: int
    decode_s: float


def _measure(
    todo: Sequence[Source], task: FlowTask, rng: np.random.Generator
) -> Iterator[_Measured]:
    """Compute a few random pairs of a few random videos."""
    warm_up(task.engine)
    order = [todo[int(index)] for index in rng.permutation(len(todo))]
    each = -(-MEASURED_PAIRS // max(1, min(len(todo), MEASURED_VIDEOS)))
    if task.engine == "cuda":
        each = MEASURED_PAIRS_CUDA
    found = (_sample(source, task, rng, each) for source in order)
    usable = (sample for sample in found if sample is not None)
    yield from islice(usable, MEASURED_VIDEOS)


def _sample(
    source: Source, task: FlowTask, rng: np.random.Generator, most: int
) -> _Measured | None:
    """Measure `most` pairs of one video; None when it cannot be read."""
    shape = claimed_shape(source.path)
    if shape is None:
        return None
    frames, width, height, _ = shape
    step = task.plan.frame_step
    last = min(frames, MEASURED_FRAMES) - step
    if last < 1:
        return None
    first = np.sort(rng.choice(last, size=min(most, last), replace=False))
    size = task.flow.target_size(width, height)
    start = time.perf_counter()
    try:
        pairs = list(read_pairs(source.path, np.stack([first, first + step], axis=1), size))
        decode_s = time.perf_counter() - start
        if task.engine == "cuda":  # kernels of this size are compiled, buffers are there
            deque(compute_fields(iter(pairs[:2]), task, name=source.key), maxlen=0)
        seconds, stored = _timed(compute_fields(iter(pairs), task, name=source.key), task)
    except (InputError, ValueError):
        return None
    pixels = sum(i0.size for i0, _ in pairs)
    decoded = (int(first[-1]) + step + 1) * width * height
    return _Measured(pixels, seconds, stored, decoded, decode_s)


def _timed(fields: Iterator[np.ndarray], task: FlowTask) -> tuple[float, int]:
    """Seconds that fields take, compressed as well, and the bytes of a cache of them."""
    start = time.perf_counter()
    stored = sum(len(zlib.compress(_as_stored(field, task).tobytes(), 1)) for field in fields)
    return time.perf_counter() - start, stored


def _as_stored(field: np.ndarray, task: FlowTask) -> np.ndarray:
    """Values of a field as the cache would hold them, channels first."""
    planes = np.ascontiguousarray(field.transpose(2, 0, 1))
    if task.flow.dtype == "uint8":
        return quantise(planes, task.flow.bound)
    return planes.astype(np.float16)

"""The videos of one device: chunks of snippets in, feature caches out."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from data.cache_header import Header
from data.errors import InputError, VideoError
from data.feature_cache import FeatureWriter, create_features
from pipeline import console
from pipeline.forward import Forward, Pending
from pipeline.snippets import Chunk, VideoInput, in_background, read_chunks
from pipeline.stage_one import StageOneSetup, load_stage_one


@dataclass(frozen=True)
class VideoJob:
    """One video to do: what to read, what its cache is to say, and where it goes."""

    input: VideoInput
    header: Header
    path: Path
    frame_index: np.ndarray  # (S,) int64
    time: np.ndarray  # (S,) float64, seconds


@dataclass(frozen=True)
class FeatureTask:
    """What all videos of a run share; picklable."""

    output: Path
    rgb_weights: str | None
    flow_weights: str | None
    weights: tuple[tuple[str, str], ...]  # Digests, sorted.
    precision: str
    batch_size: int
    keep_streams: bool
    readers: int  # Processes that read videos; 0: one thread.
    map_shape: tuple[int, int, int]
    stream_shape: tuple[int, int, int]


@dataclass
class ShareResult:
    """What became of the videos of a share, and where the time went."""

    done: list[str] = field(default_factory=list)  # Keys.
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    snippets: int = 0

    def spend(self, name: str, since: float) -> float:
        """Add the time since a moment under a name; return the present moment."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - since
        return now


def run_share(
    share: tuple[str, Sequence[VideoJob]],
    task: FeatureTask,
    forward: Forward | None = None,
    advance: Callable[[int], object] = lambda snippets: None,
) -> ShareResult:
    """Do the videos of one device.

    Parameters
    ----------
    share
        The device and its videos.
    task
        What all shares have in common.
    forward
        Stage one on that device; by default loaded from the output folder, once a process.
    advance
        Told the number of snippets after every batch.
    """
    device, videos = share
    if forward is None:
        forward = _forward(task, device)
    return _Share(videos, task, forward, advance).run()


def run_quietly(share: tuple[str, Sequence[VideoJob]], task: FeatureTask) -> ShareResult:
    """Do a share in a worker process, where only warnings are shown."""
    if not console.log.handlers:
        console.configure(verbosity=-1)
    return run_share(share, task)


@lru_cache(maxsize=1)
def _forward(task: FeatureTask, device: str) -> Forward:
    setup = load_stage_one(
        task.output, rgb_weights=task.rgb_weights, flow_weights=task.flow_weights
    )
    if tuple(sorted(setup.weights.items())) != task.weights:
        raise InputError(f"{task.output}: its stage one was replaced during the run; run again")
    return make_forward(setup, task, device)


def make_forward(setup: StageOneSetup, task: FeatureTask, device: str) -> Forward:
    """Put stage one on a device as a task wants it."""
    return Forward(
        setup.module,
        device,
        task.precision,
        batch_size=task.batch_size,
        keep_streams=task.keep_streams,
    )


class _Share:
    """The loop: one batch computes while the next is read and the last is written."""

    def __init__(
        self,
        videos: Sequence[VideoJob],
        task: FeatureTask,
        forward: Forward,
        advance: Callable[[int], object],
    ) -> None:
        self.videos = videos
        self.task = task
        self.forward = forward
        self.advance = advance
        self.result = ShareResult()
        self.open: dict[int, _OpenCache] = {}
        self.running: deque[tuple[Chunk, list[Pending]]] = deque()

    def run(self) -> ShareResult:
        """Do all videos; a failing one is dropped without a trace in the output folder."""
        began = waiting = time.perf_counter()
        # On CUDA one batch computes while the one before it is written.
        depth = 1 if self.forward.device.type == "cuda" else 0
        try:
            with closing(_chunks(self.videos, self.task, self.forward.device.type)) as chunks:
                for chunk in chunks:
                    self.result.spend("waiting", waiting)
                    for name, seconds in chunk.seconds.items():
                        total = self.result.seconds.get(name, 0.0)
                        self.result.seconds[name] = total + seconds
                    self._guard(chunk, self._submit)
                    while len(self.running) > depth:
                        self._guard(self.running[0][0], self._finish)
                    waiting = time.perf_counter()
            while self.running:
                self._guard(self.running[0][0], self._finish)
        finally:
            for cache in self.open.values():
                cache.abort()
        self.result.spend("total", began)
        return self.result

    def _guard(self, chunk: Chunk, step: Callable[[Chunk], None]) -> None:
        """Do one step of a video, unless it failed before; note when it fails now."""
        key = self.videos[chunk.video].input.key
        if key in self.result.failures:
            self.running = deque(item for item in self.running if item[0].video != chunk.video)
            return
        try:
            step(chunk)
        except InputError as error:
            self.result.failures[key] = str(error)
            console.log.warning("%s: %s", key, error)
            self.running = deque(item for item in self.running if item[0].video != chunk.video)
            if chunk.video in self.open:
                self.open.pop(chunk.video).abort()

    def _submit(self, chunk: Chunk) -> None:
        if chunk.error is not None:
            raise VideoError(chunk.error)
        began = time.perf_counter()
        key = self.videos[chunk.video].input.key
        parts = self.forward.submit(chunk.frames, chunk.stacks, key)
        self.result.spend("trunks", began)
        self.running.append((chunk, parts))

    def _finish(self, chunk: Chunk) -> None:
        chunk, parts = self.running.popleft()
        rows = iter(chunk.rows)
        for pending in parts:
            began = time.perf_counter()
            maps = self.forward.collect(pending)
            began = self.result.spend("trunks", began)
            cache = self._cache(chunk.video)
            for index in range(len(maps.fused)):
                streams = [None if m is None else m[index] for m in (maps.rgb, maps.flow)]
                cache.put(int(next(rows)), maps.fused[index], *streams)
            self.result.spend("writing", began)
        self.result.snippets += len(chunk.rows)
        self.advance(len(chunk.rows))
        if cache.complete:
            began = time.perf_counter()
            self.open.pop(chunk.video).close()
            self.result.done.append(self.videos[chunk.video].input.key)
            self.result.spend("writing", began)

    def _cache(self, video: int) -> _OpenCache:
        if video not in self.open:
            self.open[video] = _OpenCache(self.videos[video], self.task)
        return self.open[video]


class _OpenCache:
    """A feature cache being written across chunks."""

    def __init__(self, job: VideoJob, task: FeatureTask) -> None:
        self._left = len(job.frame_index)
        self._stack = ExitStack()
        self._writer: FeatureWriter = self._stack.enter_context(
            create_features(
                job.path,
                job.header,
                job.frame_index,
                job.time,
                task.map_shape,
                task.stream_shape if task.keep_streams else None,
            )
        )

    @property
    def complete(self) -> bool:
        """Whether every snippet was put."""
        return self._left == 0

    def put(self, row: int, *maps: np.ndarray | None) -> None:
        """Store the maps of one snippet."""
        fused, rgb, flow = maps
        if fused is not None:
            self._writer.put(row, fused, rgb, flow)
        self._left -= 1

    def close(self) -> None:
        """Finish the file and move it into place."""
        self._stack.close()

    def abort(self) -> None:
        """Leave nothing of the file."""
        stop = _AbortedError()
        with suppress(_AbortedError):
            self._stack.__exit__(_AbortedError, stop, None)


class _AbortedError(Exception):
    """Ends a cache that is not to be kept."""


class _Reader(IterableDataset):
    """Chunks of every n-th video, in worker n of a DataLoader."""

    def __init__(self, videos: Sequence[VideoInput], batch_size: int) -> None:
        self._videos = videos
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[Chunk]:
        import cv2

        cv2.setNumThreads(1)
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info is not None else (0, 1)
        for number in range(first, len(self._videos), step):
            yield from read_chunks(number, self._videos[number], self._batch_size)


def _chunks(
    videos: Sequence[VideoJob], task: FeatureTask, device_type: str
) -> Generator[Chunk, None, None]:
    """Read the videos ahead of the device: in a thread, or in processes."""
    reader = _Reader([job.input for job in videos], task.batch_size)
    readers = min(task.readers, len(videos))
    if readers == 0:
        yield from in_background(lambda: reader)
        return
    method = "spawn" if sys.platform == "win32" else "forkserver"
    loader: Any = DataLoader(
        reader,
        batch_size=None,
        num_workers=readers,
        prefetch_factor=2,
        pin_memory=device_type == "cuda",
        multiprocessing_context=multiprocessing.get_context(method),
    )
    yield from loader

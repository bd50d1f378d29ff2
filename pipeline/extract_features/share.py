"""The videos of one device: chunks of snippets in, feature caches out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from time import perf_counter

import torch

from data.cache.features import create_features
from data.errors import InputError, VideoError
from pipeline.extract_features.forward import Forward, HostMaps, Pending
from pipeline.extract_features.reading import ReadAhead
from pipeline.extract_features.snippets import Chunk, VideoJob
from pipeline.runner.files import check_room
from pipeline.shell.console import log

Parts = list[Pending]
Start = Callable[[Callable[[], Parts]], Future[Parts]]


@dataclass
class ShareResult:
    """What became of the videos of a share, and where the time went."""

    done: list[str] = field(default_factory=list)  # Keys.
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    snippets: int = 0

    def spend(self, name: str, since: float) -> float:
        """Add the time since a moment under a name; return the present moment."""
        now = perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - since
        return now


def run_share(
    videos: Sequence[VideoJob],
    forward: Forward,
    readers: int = 1,
    advance: Callable[[int], object] = lambda snippets: None,
) -> ShareResult:
    """Write the caches of the videos of one device.

    Parameters
    ----------
    videos
    forward
        Stage one on that device.
    readers
        Threads that read videos.
    advance
        Called with the number of snippets after every batch.
    """
    return _Loop(videos, forward, readers, advance).run()


class _Loop:
    """One batch computes while the next is read and the one before is written.

    On a CPU two do, each on half of the threads: within a batch, threads wait for each other after
    every layer, and longer where the reader or another program takes a core.
    """

    def __init__(
        self,
        videos: Sequence[VideoJob],
        forward: Forward,
        readers: int,
        advance: Callable[[int], object],
    ) -> None:
        self.videos = videos
        self.forward = forward
        self.readers = readers
        self.advance = advance
        self.result = ShareResult()
        self.caches: dict[int, _OpenCache] = {}
        self.start: Start
        self.running: deque[tuple[Chunk, Future[Parts]]] = deque()

    def run(self) -> ShareResult:
        """Compute all videos; a failed one leaves no cache."""
        began = waiting = perf_counter()
        device = self.forward.device
        inputs = [video.input for video in self.videos]
        try:
            with (
                _lanes(device) as (self.start, depth),
                ReadAhead(inputs, self.forward.batch_size, self.readers, device) as chunks,
            ):
                for chunk in chunks:
                    self.result.spend("waiting", waiting)
                    for name, seconds in chunk.seconds.items():
                        total = self.result.seconds.get(name, 0.0)
                        self.result.seconds[name] = total + seconds
                    self._guard(chunk, self._submit)
                    while len(self.running) > depth:
                        self._guard(self.running[0][0], self._finish)
                    waiting = perf_counter()
                while self.running:
                    self._guard(self.running[0][0], self._finish)
        finally:
            for cache in self.caches.values():
                cache.abort()
        self.result.spend("total", began)
        return self.result

    def _guard(self, chunk: Chunk, step: Callable[[Chunk], None]) -> None:
        """Do one step of a video, unless the video has failed; record its failure."""
        key = self.videos[chunk.video].input.key
        if key in self.result.failures:
            self._drop(chunk.video)
            return
        try:
            step(chunk)
        except InputError as error:
            self.result.failures[key] = str(error)
            log.warning("%s: %s", key, error)
            self._drop(chunk.video)

    def _drop(self, video: int) -> None:
        self.running = deque(item for item in self.running if item[0].video != video)
        if video in self.caches:
            self.caches.pop(video).abort()

    def _submit(self, chunk: Chunk) -> None:
        if chunk.error is not None:
            raise VideoError(chunk.error)
        began = perf_counter()
        key = self.videos[chunk.video].input.key
        work = partial(self.forward.submit, chunk.frames, chunk.stacks, key)
        chunk.frames = chunk.stacks = None  # The parts hold what they need.
        self.running.append((chunk, self.start(work)))
        self.result.spend("trunks", began)

    def _finish(self, chunk: Chunk) -> None:
        chunk, batch = self.running.popleft()
        rows = iter(chunk.rows)
        began = perf_counter()
        parts = batch.result()
        self.result.spend("trunks", began)
        for pending in parts:
            began = perf_counter()
            maps = self.forward.collect(pending)
            began = self.result.spend("trunks", began)
            if chunk.video not in self.caches:
                self.caches[chunk.video] = _OpenCache(self.videos[chunk.video], maps)
            self.caches[chunk.video].put(rows, maps)
            self.result.spend("writing", began)
        self.result.snippets += len(chunk.rows)
        self.advance(len(chunk.rows))
        if self.caches[chunk.video].complete:
            began = perf_counter()
            self.caches.pop(chunk.video).close()
            self.result.done.append(self.videos[chunk.video].input.key)
            self.result.spend("writing", began)


@contextmanager
def _lanes(device: torch.device) -> Iterator[tuple[Start, int]]:
    """Yield a function that starts a batch, and how many may run while the next is started."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads < 2:
        # On CUDA one batch computes while the one before it is written.
        yield _at_once, int(device.type != "cpu")
        return
    # As many in each: the number of threads decides the last bits.
    pool = ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(threads // 2,))
    try:
        yield pool.submit, 2
    finally:
        pool.shutdown(cancel_futures=True)


def _at_once(work: Callable[[], Parts]) -> Future[Parts]:
    """Do the work here and now; its errors are raised here."""
    done: Future[Parts] = Future()
    done.set_result(work())
    return done


class _OpenCache:
    """The feature cache of one video, written batch by batch: whole or not at all."""

    def __init__(self, video: VideoJob, maps: HostMaps) -> None:
        check_room(video.path)
        self._path = video.path
        self._left = len(video.frame_index)
        self._stack = ExitStack()
        self._writer = self._stack.enter_context(
            create_features(
                video.path,
                video.header,
                video.frame_index,
                video.time,
                maps.fused.shape[1:],
                None if maps.rgb is None else maps.rgb.shape[1:],
            )
        )

    @property
    def complete(self) -> bool:
        """Whether every snippet was put."""
        return self._left == 0

    def put(self, rows: Iterator[int], maps: HostMaps) -> None:
        """Store the maps of a batch; the next of `rows` are its snippets."""
        streams = [repeat(None) if m is None else m for m in (maps.rgb, maps.flow)]
        for fused, rgb, flow in zip(maps.fused, *streams, strict=False):
            check_room(self._path)
            self._writer.put(int(next(rows)), fused, rgb, flow)
            self._left -= 1

    def close(self) -> None:
        """Finish the file and move it into place."""
        self._stack.close()

    def abort(self) -> None:
        """Leave nothing of the file: end it as a failed write would."""
        with suppress(_AbandonedError):
            self._stack.__exit__(_AbandonedError, _AbandonedError(), None)


class _AbandonedError(Exception):
    """Ends a cache that is not to be kept."""

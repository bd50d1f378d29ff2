"""Snippets of many videos, read in threads ahead of the device that takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

import cv2
import numpy as np
import torch

from data.errors import InputError
from pipeline.extract_features.snippets import Chunk, VideoInput, count_snippets, read_snippets


def read_chunks(number: int, video: VideoInput, batch_size: int) -> Generator[Chunk, None, None]:
    """Read a video in batches of nearly equal size, `batch_size` at most.

    An `InputError` ends the video with a chunk that carries its message.
    """
    seconds: dict[str, float] = {}
    try:
        rows = np.arange(count_snippets(video))
        with closing(read_snippets(video, rows, seconds)) as snippets:
            for part in np.array_split(rows, -(-len(rows) // batch_size)):
                _, frames, stacks = zip(*(next(snippets) for _ in part), strict=True)
                yield Chunk(
                    number,
                    part,
                    torch.from_numpy(np.stack(frames)),
                    torch.from_numpy(np.stack(stacks)),
                    seconds=dict(seconds),
                )
                seconds.clear()
    except InputError as error:
        yield Chunk(number, np.empty(0, np.int64), error=str(error), seconds=dict(seconds))


class ReadAhead:
    """Chunks of some videos, a few ahead of the caller.

    Decoding, resizing and decompression let other threads run meanwhile. An unexpected exception
    of a thread is raised where its chunk would come. Leaving the `with` block ends the threads.

    Parameters
    ----------
    videos
        Chunks refer to them by number.
    batch_size
        Snippets a batch at most.
    readers
        Threads; each reads a video of its own.
    device
        Where the chunks go; for a GPU they lie in page-locked memory.
    """

    def __init__(
        self, videos: Sequence[VideoInput], batch_size: int, readers: int, device: torch.device
    ) -> None:
        self._videos = videos
        self._batch_size = batch_size
        self._device = device
        self._numbers = iter(range(len(videos)))
        readers = max(1, min(readers, len(videos)))
        self._ready: queue.Queue[Chunk | BaseException | None] = queue.Queue(2 * readers)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(readers)]

    def __enter__(self) -> Iterator[Chunk]:
        for thread in self._threads:
            thread.start()
        return self._chunks()

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _chunks(self) -> Iterator[Chunk]:
        running = len(self._threads)
        while running:
            item = self._ready.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item

    def _run(self) -> None:
        """Read videos until none is left, in one thread."""
        cv2.setNumThreads(1)
        try:
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)  # Page-locked memory belongs to its context.
            for number in self._numbers:  # Each number goes to one thread.
                self._read(number)
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _read(self, number: int) -> None:
        with closing(read_chunks(number, self._videos[number], self._batch_size)) as chunks:
            for chunk in chunks:
                if self._device.type == "cuda" and chunk.error is None:
                    chunk.frames = chunk.frames.pin_memory()
                    chunk.stacks = chunk.stacks.pin_memory()
                if not self._put(chunk):
                    return

    def _put(self, item: Chunk | BaseException | None) -> bool:
        """Queue an item as soon as there is room; False once the caller has left."""
        while not self._stopping.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

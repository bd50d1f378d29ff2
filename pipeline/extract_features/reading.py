"""Snippets read ahead of the device: in a thread, or in processes."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pipeline.extract_features.snippets import Chunk, VideoInput, in_background, read_chunks


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


def read_ahead(
    videos: Sequence[VideoInput], batch_size: int, readers: int, *, pin: bool
) -> Generator[Chunk, None, None]:
    """Read the snippets of videos, ahead of whoever takes them.

    Parameters
    ----------
    videos
        Chunks refer to them by number.
    batch_size
        Snippets a batch at most.
    readers
        Processes; 0 is a thread of this one.
    pin
        Whether processes' chunks are moved to page-locked memory.
    """
    reader = _Reader(videos, batch_size)
    readers = min(readers, len(videos))
    if readers == 0:
        yield from in_background(lambda: reader)
        return
    method = "spawn" if sys.platform == "win32" else "forkserver"
    loader: Any = DataLoader(
        reader,
        batch_size=None,
        num_workers=readers,
        prefetch_factor=2,
        pin_memory=pin,
        multiprocessing_context=multiprocessing.get_context(method),
    )
    yield from loader

"""Feature caches that are written across batches of a video."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from data.cache.features import FeatureWriter, create_features
from data.cache.header import Header
from pipeline.runner.files import check_room


class OpenCache:
    """A feature cache being written across chunks."""

    def __init__(
        self,
        path: Path,
        header: Header,
        frame_index: np.ndarray,
        time: np.ndarray,
        map_shape: tuple[int, int, int],
        stream_shape: tuple[int, int, int] | None,
    ) -> None:
        check_room(path)
        self._path = path
        self._left = len(frame_index)
        self._stack = ExitStack()
        self._writer: FeatureWriter = self._stack.enter_context(
            create_features(path, header, frame_index, time, map_shape, stream_shape)
        )

    @property
    def complete(self) -> bool:
        """Whether every snippet was put."""
        return self._left == 0

    def put(self, row: int, *maps: np.ndarray | None) -> None:
        """Store the maps of one snippet."""
        fused, rgb, flow = maps
        if fused is not None:
            check_room(self._path)
            self._writer.put(row, fused, rgb, flow)
        self._left -= 1

    def close(self) -> None:
        """Finish the file and move it into place."""
        self._stack.close()

    def abort(self) -> None:
        """Leave nothing of the file."""
        abandon(self._stack)


def abandon(stack: ExitStack) -> None:
    """End the cache that a stack holds open as if writing it had failed: nothing is left of it."""
    with suppress(_AbandonedError):
        stack.__exit__(_AbandonedError, _AbandonedError(), None)


class _AbandonedError(Exception):
    """Ends a cache that is not to be kept."""

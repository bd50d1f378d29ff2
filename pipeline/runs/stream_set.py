"""Stream maps of a features folder, for training ConvFusion: checked, and read as needed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.cache.features import FeatureCache, open_features
from data.cache.folder import cache_path, content_digest
from data.cache.header import Header, header_differences
from data.errors import CacheError, StaleCacheError
from data.sampling import segment_of
from model.ranker.videos import VideoMaps


class StreamSet:
    """The stream maps of some videos; rows count the snippets of one video after the other.

    Maps that were read stay in memory as float16, up to a limit; beyond it each is read anew.

    Parameters
    ----------
    folder : path
        Output of `extract-features --keep-streams`.
    keys : sequence of str
        Videos.
    memory : float
        Bytes of stream maps kept at most.

    Raises
    ------
    CacheError
        A cache is missing or has no stream maps.
    StaleCacheError
        The caches were made with different weights or options.
    """

    def __init__(self, folder: Path, keys: Sequence[str], memory: float) -> None:
        self.keys = tuple(keys)
        self._files = ExitStack()
        self._caches: list[FeatureCache] = []
        for key in keys:
            cache = self._files.enter_context(open_features(cache_path(folder, key)))
            if not cache.has_streams:
                raise CacheError(
                    f"{cache.path}: holds fused maps only; run `pipeline extract-features` with "
                    "--keep-streams into another folder"
                )
            _check_alike(self._caches[0].header if self._caches else cache.header, cache)
            self._caches.append(cache)
        self.header = self._caches[0].header
        self.start = np.cumsum([0, *(len(cache) for cache in self._caches)])
        self._memory = memory
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def close(self) -> None:
        """Close all caches."""
        self._files.close()

    @property
    def map_size(self) -> tuple[int, int, int]:
        """(2048, h, w) of a stream map."""
        shape = self._caches[0].stream_shape or (0, 0, 0, 0)
        return shape[1:]

    def digests(self) -> list[str]:
        """Content digest of each video's cache."""
        return [content_digest(cache.path) for cache in self._caches]

    def layout(self, segments: int) -> VideoMaps:
        """Which snippet lies in which video and segment; the maps themselves stay out."""
        numbers = [
            segment_of(cache.frame_index, cache.header.decoded_frames, segments)
            for cache in self._caches
        ]
        return VideoMaps(
            torch.empty(int(self.start[-1]), 0, 0, 0),
            torch.from_numpy(self.start),
            torch.from_numpy(np.concatenate(numbers)),
            self.keys,
        )

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Stream maps of some rows: RGB and flow, (n, 2048, h, w) float16 each."""
        pairs = [self._one(int(row)) for row in rows]
        return torch.stack([rgb for rgb, _ in pairs]), torch.stack([flow for _, flow in pairs])

    def _one(self, row: int) -> tuple[Tensor, Tensor]:
        if row in self._kept:
            return self._kept[row]
        video = int(np.searchsorted(self.start, row, side="right")) - 1
        cache, snippet = self._caches[video], row - int(self.start[video])
        maps = (
            torch.from_numpy(cache.read_stream("rgb", snippet)),
            torch.from_numpy(cache.read_stream("flow", snippet)),
        )
        size = 2 * maps[0].numel() * maps[0].element_size()
        if (len(self._kept) + 1) * size <= self._memory:
            self._kept[row] = maps
        return maps


def _check_alike(first: Header, cache: FeatureCache) -> None:
    """Refuse caches of other weights or options than the first one's."""
    found = cache.header
    alike = Header(
        "features",
        source_digest=found.source_digest,
        upstream=found.upstream,
        parameters=first.parameters,
        weights=first.weights,
    )
    differences = header_differences(found, alike)
    if differences:
        raise StaleCacheError(
            f"{cache.path}: {'; '.join(differences).replace('you asked', 'others')}: features of "
            "one training must be made alike"
        )

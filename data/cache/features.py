"""Feature caches: the fused maps of one video's snippets, one HDF5 chunk a snippet.

Layout (schema 1): ``maps`` (S, C, H, W) float16; ``frame_index`` (S,) int64, the frame shown to
the RGB stream; ``time`` (S,) float64, its seconds; and, optionally, ``streams/rgb`` and
``streams/flow`` (S, 2048, h, w) float16, the two trunks' maps before fusion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from data.cache.folder import create_cache, open_cache
from data.cache.header import Header
from data.cache.schema import DAMAGE
from data.cache.sink import NewFile
from data.errors import CacheError

STREAMS = ("rgb", "flow")


class FeatureCache:
    """A feature cache open for reading; snippets are read one at a time.

    Attributes
    ----------
    header : Header
    frame_index : ndarray (S,) int64
        Frame of each snippet.
    time : ndarray (S,) float64
        Its seconds.
    shape : tuple (S, C, H, W)
        Of the fused maps.
    has_streams : bool
        Whether the trunks' own maps were kept (``extract-features --keep-streams``).
    stream_shape : tuple (S, 2048, h, w) or None
    """

    def __init__(self, path: Path, file: h5py.File, header: Header) -> None:
        self.path = path
        self.header = header
        self._maps = file["maps"]
        self._streams = {name: file[f"streams/{name}"] for name in STREAMS if "streams" in file}
        self.frame_index: np.ndarray = file["frame_index"][()]
        self.time: np.ndarray = file["time"][()]
        self.shape: tuple[int, int, int, int] = self._maps.shape
        self.has_streams = bool(self._streams)
        self.stream_shape: tuple[int, int, int, int] | None = (
            self._streams["rgb"].shape if self.has_streams else None
        )

    def __len__(self) -> int:
        """Return the number of snippets S."""
        return self.shape[0]

    def read(self, row: int, *, check: bool = True) -> np.ndarray:
        """Fused map of one snippet: (C, H, W) float16.

        Raises
        ------
        CacheError
            It cannot be read or, with `check`, holds values that are not finite.
        """
        return self._read(self._maps, row, check)

    def read_stream(self, name: Literal["rgb", "flow"], row: int) -> np.ndarray:
        """Map of one trunk for one snippet: (2048, h, w) float16.

        Raises
        ------
        CacheError
            The trunks' maps were not kept.
        """
        if not self.has_streams:
            raise CacheError(
                f"{self.path}: holds fused maps only; recreate it with"
                " extract-features --keep-streams"
            )
        return self._read(self._streams[name], row, check=True)

    def _read(self, dataset: h5py.Dataset, row: int, check: bool) -> np.ndarray:
        remedy = "delete the file and run extract-features"
        try:
            values = np.asarray(dataset[row])
        except DAMAGE as error:
            raise CacheError(f"{self.path}: snippet {row} cannot be read; {remedy}") from error
        if check and not np.isfinite(values).all():
            raise CacheError(
                f"{self.path}: {dataset.name.lstrip('/')} of snippet {row} holds values that are"
                f" not finite; {remedy}"
            )
        return values


@contextmanager
def open_features(path: str | Path) -> Iterator[FeatureCache]:
    """Open a feature cache; CacheError when it is missing, damaged or of another kind."""
    with open_cache(path, "features") as (file, header):
        try:
            opened = FeatureCache(Path(path), file, header)
        except DAMAGE as error:
            raise CacheError(f"{path}: a dataset is missing or damaged ({error})") from error
        yield opened


class FeatureWriter:
    """A feature cache being written; `put` every snippet once."""

    def __init__(self, file: NewFile) -> None:
        self._file = file
        self._maps = file["maps"]
        self._streams = {name: file[f"streams/{name}"] for name in STREAMS if "streams" in file}
        self._missing = set(range(len(self._maps)))

    def put(
        self,
        row: int,
        fused: np.ndarray,
        rgb: np.ndarray | None = None,
        flow: np.ndarray | None = None,
    ) -> None:
        """Store the maps of one snippet.

        Parameters
        ----------
        row : int
            Number of the snippet.
        fused : ndarray (C, H, W)
            Stored as float16; must be finite and within its range.
        rgb, flow : ndarray (2048, h, w), optional
            The trunks' maps; both wherever the cache was created with `stream_shape`.

        Raises
        ------
        ValueError
            A shape differs from the one announced, or a value does not fit into float16.
        """
        streams = {"rgb": rgb, "flow": flow}
        self._store(self._maps, row, fused)
        for name, dataset in self._streams.items():
            stream = streams[name]
            if stream is None:
                raise ValueError(f"snippet {row}: the {name} stream's map is missing")
            self._store(dataset, row, stream)
        self._file.check()
        self._missing.discard(row)

    def _store(self, dataset: h5py.Dataset, row: int, values: np.ndarray) -> None:
        if values.shape != dataset.shape[1:]:
            raise ValueError(
                f"{dataset.name}: expected a map of shape {dataset.shape[1:]}, got {values.shape}"
            )
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(values, dtype=np.float16)
        if not np.isfinite(half).all():
            raise ValueError(
                f"{dataset.name}, snippet {row}: values up to {np.abs(values).max():.3g} do not"
                " fit into float16 (65504), or are not finite"
            )
        dataset[row] = half

    def close(self) -> None:
        """Check that every snippet was written."""
        if self._missing:
            raise CacheError(f"{len(self._missing)} snippets were never written")


@contextmanager
def create_features(
    path: str | Path,
    header: Header,
    frame_index: np.ndarray,
    time: np.ndarray,
    map_shape: Sequence[int],
    stream_shape: Sequence[int] | None = None,
) -> Iterator[FeatureWriter]:
    """Write a feature cache, whole or not at all.

    Parameters
    ----------
    path, header
        As for `data.cache.folder.create_cache`.
    frame_index : ndarray (S,) int64
        Frame of each snippet.
    time : ndarray (S,) float64
        Its seconds.
    map_shape : (C, H, W)
        Of the fused map of one snippet.
    stream_shape : (2048, h, w), optional
        Of one trunk's map; with it, both trunks' maps are kept too.

    Yields
    ------
    FeatureWriter
    """
    with create_cache(path, header) as file:
        shapes = {"maps": map_shape}
        if stream_shape is not None:
            shapes |= {f"streams/{name}": stream_shape for name in STREAMS}
        for name, shape in shapes.items():
            file.create_dataset(
                name,
                shape=(len(frame_index), *shape),
                dtype=np.float16,
                chunks=(1, *shape),
                compression="gzip",
                compression_opts=1,
            )
        file.create_dataset("frame_index", data=np.asarray(frame_index, np.int64))
        file.create_dataset("time", data=np.asarray(time, np.float64))
        writer = FeatureWriter(file)
        yield writer
        writer.close()

"""Flow caches: the TV-L1 fields of one video, one HDF5 chunk a field.

Layout (schema 1): ``flow`` (P, 2, H, W) uint8 or float16, channel 0 u (right) and 1 v (down);
``frame_index`` and ``next_index`` (P,) int64, the two frames of each pair; ``time`` (P,) float64,
seconds of the first; ``frame_time`` (F,) float64, seconds of every decoded frame. Attributes
``scale`` and ``offset``, on the dataset and on the root: px = (value − offset) · scale.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from data.cache.attributes import read_attribute
from data.cache.digest import RowsDigest
from data.cache.folder import create_cache, open_cache
from data.cache.header import Header
from data.cache.schema import DAMAGE
from data.cache.sink import NewFile
from data.errors import CacheError

#: Level of zero motion in uint8. OpenCV's tools use 127.5, which turns still pixels into +.08 px.
ZERO = 128
#: Levels between zero and the bound, the same on both sides; level 0 is never written.
LEVELS = 127
#: The fastest; level 4 would take a fifth less space and 1.7 times as long.
GZIP_LEVEL = 1


def quantise(flow: np.ndarray, bound: float) -> np.ndarray:
    """Round a flow field to 8 bits, zero motion exactly representable.

    Parameters
    ----------
    flow : ndarray (…,) float32
        Displacement in px; values beyond ±`bound` are clipped.
    bound : float
        Displacement in px of the levels 1 and 255.

    Returns
    -------
    ndarray (…,) uint8
        128 + round(flow · 127 / bound), within 1 … 255; off by at most bound / 254 px inside.
    """
    if not bound > 0:
        raise ValueError(f"the bound is a displacement above 0 px, got {bound}")
    levels = np.rint(flow * np.float32(LEVELS / bound))
    return (np.clip(levels, -LEVELS, LEVELS) + ZERO).astype(np.uint8)


def dequantise(values: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """Turn stored values back into px, float32: (values − offset) · scale."""
    return (values.astype(np.float32) - np.float32(offset)) * np.float32(scale)


class FlowCache:
    """A flow cache open for reading; fields are read one at a time.

    Attributes
    ----------
    header : Header
    frame_index, next_index : ndarray (P,) int64
        First and second frame of each pair, sorted.
    time : ndarray (P,) float64
        Seconds of each pair's first frame.
    frame_time : ndarray (F,) float64
        Seconds of every decoded frame of the video.
    scale, offset : float
        px = (value − offset) · scale.
    clipped : float
        Share of the values beyond the bound.
    shape : tuple (P, 2, H, W)
    dtype : numpy.dtype
    """

    def __init__(self, path: Path, file: h5py.File, header: Header) -> None:
        self.path = path
        self.header = header
        self._flow = file["flow"]
        self.frame_index: np.ndarray = file["frame_index"][()]
        self.next_index: np.ndarray = file["next_index"][()]
        self.time: np.ndarray = file["time"][()]
        self.frame_time: np.ndarray = file["frame_time"][()]
        self.scale = float(read_attribute(self._flow, "scale"))
        self.offset = float(read_attribute(self._flow, "offset"))
        self.clipped = float(read_attribute(self._flow, "clipped"))
        self.shape: tuple[int, int, int, int] = self._flow.shape
        self.dtype: np.dtype = self._flow.dtype
        # Repacked by another program, chunks may differ.
        self._own_chunks = (
            self._flow.chunks == (1, *self.shape[1:])
            and self._flow.compression == "gzip"
            and self._flow.id.get_create_plist().get_nfilters() == 1
        )
        self._row = {
            pair: row
            for row, pair in enumerate(
                zip(self.frame_index.tolist(), self.next_index.tolist(), strict=True)
            )
        }

    def __len__(self) -> int:
        """Return the number of pairs P."""
        return self.shape[0]

    def read(self, row: int, *, check: bool = True) -> np.ndarray:
        """One field as stored: (2, H, W), uint8 or float16.

        Raises
        ------
        CacheError
            It cannot be read or, with `check`, holds values that are not finite.
        """
        remedy = "delete the file and run extract-flow"
        try:
            values = self._stored(row)
        except (*DAMAGE, zlib.error) as error:
            raise CacheError(f"{self.path}: field {row} cannot be read; {remedy}") from error
        if check and self.dtype.kind == "f" and not np.isfinite(values).all():
            raise CacheError(f"{self.path}: field {row} holds values that are not finite; {remedy}")
        return values

    def _stored(self, row: int) -> np.ndarray:
        if self._own_chunks:
            # HDF5 would decompress too, but hold the interpreter lock meanwhile.
            skipped, content = self._flow.id.read_direct_chunk((row, 0, 0, 0))
            if not skipped:
                values = np.frombuffer(zlib.decompress(content), self.dtype)
                return values.reshape(self.shape[1:])
        return np.asarray(self._flow[row])

    def read_px(self, row: int) -> np.ndarray:
        """One field in px: (2, H, W) float32."""
        return dequantise(self.read(row), self.scale, self.offset)

    def rows(self, pairs: np.ndarray) -> np.ndarray:
        """Rows of some pairs of frames.

        Parameters
        ----------
        pairs : ndarray (…, 2) int
            First and second frame of each pair.

        Returns
        -------
        ndarray (…,) int64

        Raises
        ------
        CacheError
            A pair is not in the cache; the message gives the command that adds it.
        """
        flat = np.asarray(pairs).reshape(-1, 2)
        rows = [self._row.get((int(first), int(second)), -1) for first, second in flat]
        if -1 in rows:
            first, second = flat[rows.index(-1)]
            raise CacheError(
                f"{self.path}: {rows.count(-1)} of {len(rows)} pairs of frames are missing"
                f" (such as {first} → {second}); run `pipeline extract-flow` on"
                f" {self.header.source} with the sampling options that you use here"
            )
        return np.array(rows, np.int64).reshape(np.shape(pairs)[:-1])


@contextmanager
def open_flow(path: str | Path) -> Iterator[FlowCache]:
    """Open a flow cache; CacheError when it is missing, damaged or of another kind."""
    with open_cache(path, "flow") as (file, header):
        try:
            opened = FlowCache(Path(path), file, header)
        except DAMAGE as error:
            raise CacheError(f"{path}: a dataset is missing or damaged ({error})") from error
        yield opened


class FlowWriter:
    """A flow cache being written; `put` every pair once, preferably in order."""

    def __init__(self, file: NewFile, bound: float) -> None:
        self._file = file
        self._flow = file["flow"]
        self._digest = RowsDigest(self._flow)
        self._flow_size = int(self._flow.size)
        self._bound = bound
        self._missing = set(range(len(self._flow)))
        self._clipped = 0

    def put(self, row: int, flow: np.ndarray) -> None:
        """Store the field of one pair: (H, W, 2) float32 px, u then v."""
        expected = (*self._flow.shape[2:], 2)
        if flow.shape != expected:
            raise ValueError(f"expected a flow field of shape {expected}, got {flow.shape}")
        self._clipped += int(np.count_nonzero(np.abs(flow) > self._bound))
        if self._flow.dtype == np.uint8:
            values = quantise(flow, self._bound)
        else:
            values = flow.astype(np.float16)
        stored = np.ascontiguousarray(values.transpose(2, 0, 1))
        # HDF5 would compress too, but while holding the interpreter lock.
        self._flow.id.write_direct_chunk((row, 0, 0, 0), zlib.compress(stored.data, GZIP_LEVEL))
        self._file.check()
        self._digest.add(row, stored)
        self._missing.discard(row)

    @property
    def clipped(self) -> float:
        """Share of the values so far beyond the bound."""
        return self._clipped / self._flow_size

    def close(self) -> None:
        """Check that every field was written, and store the share of values beyond the bound."""
        if self._missing:
            raise CacheError(f"{len(self._missing)} fields were never written")
        self._flow.attrs["clipped"] = self.clipped
        self._digest.store()


@contextmanager
def create_flow(
    path: str | Path,
    header: Header,
    *,
    pairs: np.ndarray,
    frame_time: np.ndarray,
    height: int,
    width: int,
    bound: float,
    dtype: Literal["uint8", "float16"] = "uint8",
) -> Iterator[FlowWriter]:
    """Write a flow cache, whole or not at all.

    Parameters
    ----------
    path, header
        As for `data.cache.folder.create_cache`.
    pairs : ndarray (P, 2) int64
        First and second frame of each pair.
    frame_time : ndarray (F,) float64
        Seconds of every decoded frame.
    height, width : int
        Size of the fields in px.
    bound : float
        Displacement in px beyond which uint8 values are clipped; float16 ones never are.
    dtype : {"uint8", "float16"}
        How values are stored.

    Yields
    ------
    FlowWriter
    """
    with create_cache(path, header) as file:
        flow = file.create_dataset(
            "flow",
            shape=(len(pairs), 2, height, width),
            dtype=dtype,
            chunks=(1, 2, height, width),
            compression="gzip",
            compression_opts=GZIP_LEVEL,
        )
        scale, offset = (bound / LEVELS, float(ZERO)) if dtype == "uint8" else (1.0, 0.0)
        for place in (flow, file):
            place.attrs["scale"] = scale
            place.attrs["offset"] = offset
        first = pairs[:, 0].astype(np.int64)
        file.create_dataset("frame_index", data=first)
        file.create_dataset("next_index", data=pairs[:, 1].astype(np.int64))
        file.create_dataset("time", data=frame_time[first].astype(np.float64))
        file.create_dataset("frame_time", data=frame_time.astype(np.float64))
        writer = FlowWriter(file, bound)
        yield writer
        writer.close()

"""Arrays in `.npy`, `.npz` and HDF5 files: listed with what they claim, and read block by block.

Nothing is unpickled, and nothing is allocated for an array that its file cannot hold.
"""

from __future__ import annotations

import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np
from numpy.lib import format as npy

from data.cache import schema
from data.cache.schema import check_claim, local_dataset
from data.errors import InputError, system_reason

#: What reading these files raises where they are damaged.
DAMAGE = (*schema.DAMAGE, EOFError, zipfile.BadZipFile, zlib.error)
#: Bytes of a block that is read at a time; a block has at least one row.
BLOCK_BYTES = 4_000_000
#: Most bytes that deflate makes of one.
_DENSEST = 1032
_SLACK = 1000


@dataclass(frozen=True, kw_only=True)
class Array:
    """An array of a file, as its header describes it; "" is the name of an .npy file's only one."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, along the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def block(self) -> int:
        """Rows that are read at a time."""
        return max(1, BLOCK_BYTES // max(self.row_bytes, 1))

    def __str__(self) -> str:
        shape = "×".join(map(str, self.shape)) or "a single value"
        return f"{self.name} ({shape}, {self.dtype})".strip()


class ArrayFile(Protocol):
    """An open file of arrays."""

    @property
    def arrays(self) -> dict[str, Array]:
        """Its arrays by name."""

    def check(self, array: Array) -> None:
        """Refuse an array of more bytes than its file, or one that lies elsewhere; ValueError."""

    def blocks(self, array: Array) -> Iterator[np.ndarray]:
        """Yield the rows of an array in order, some at a time: (n, …) of its type."""


@contextmanager
def open_arrays(path: Path) -> Iterator[ArrayFile]:
    """Open a file of arrays for reading.

    Raises
    ------
    InputError
        Missing, damaged, no such file, or a cache of this program.
    """
    opened = _OPEN.get(path.suffix.lower())
    if opened is None:
        raise InputError(f"{path}: expected a file ending in .npy, .npz, .h5 or .hdf5")
    try:
        with opened(path) as file:
            yield file
    except InputError:
        raise
    except DAMAGE as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: BaseException) -> InputError:
    """Return the one line for a file that cannot be read."""
    return InputError(f"{path}: cannot be read as {path.suffix.lower()} ({system_reason(error)})")


def check_array(path: Path, file: ArrayFile, array: Array) -> None:
    """Check what an array claims before it, or anything of its length, is allocated.

    Raises
    ------
    InputError
    """
    try:
        file.check(array)
    except DAMAGE as error:
        raise unreadable(path, error) from error


def read_all(path: Path, file: ArrayFile, array: Array) -> np.ndarray:
    """Return a whole array, checked before; for time stamps and indices, which are small.

    Raises
    ------
    InputError
    """
    check_array(path, file, array)
    return np.concatenate(list(file.blocks(array)))


@dataclass(frozen=True)
class _Header:
    """What the header of an .npy file, or of a member of an .npz file, says."""

    array: Array
    fortran: bool
    start: int  # Bytes before the values.

    @property
    def bytes(self) -> int:
        return math.prod(self.array.shape) * self.array.dtype.itemsize


def _read_header(stream: IO[bytes], name: str) -> _Header:
    """Read an .npy header; nothing is unpickled.

    Raises
    ------
    ValueError
        No .npy header, one with fields, or of Python objects.
    """
    version = npy.read_magic(stream)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"npy version {version[0]}.{version[1]}, expected 1.0 or 2.0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 2 wrote shapes as 10L.
        shape, fortran, dtype = readers[version](stream)
    if any(length < 0 for length in shape):
        raise ValueError(f"it claims the shape {shape}")
    return _Header(Array(name=name, shape=tuple(shape), dtype=dtype), fortran, stream.tell())


def _stream_blocks(stream: IO[bytes], array: Array) -> Iterator[np.ndarray]:
    """Yield the rows of an array in C order from a stream that stands at its first value."""
    for start in range(0, array.shape[0], array.block):
        rows = min(array.block, array.shape[0] - start)
        content = stream.read(rows * array.row_bytes)
        if len(content) < rows * array.row_bytes:
            raise EOFError("it ends before its last value")
        yield np.frombuffer(content, array.dtype).reshape(rows, *array.shape[1:])


class _Npy:
    """An .npy file."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream = path, stream
        self._header = _read_header(stream, "")
        size = os.fstat(stream.fileno()).st_size
        _refuse_claim(self._header, size - self._header.start)
        self.arrays = {"": self._header.array}

    def check(self, array: Array) -> None:
        """Nothing: the header was checked."""

    def blocks(self, array: Array) -> Iterator[np.ndarray]:
        header = self._header
        if not header.fortran:
            self._stream.seek(header.start)
            yield from _stream_blocks(self._stream, array)
            return
        mapped = np.memmap(
            self._path, array.dtype, "r", offset=header.start, shape=array.shape, order="F"
        )
        for start in range(0, len(mapped), array.block):
            yield np.ascontiguousarray(mapped[start : start + array.block])


class _Npz:
    """An .npz file: a ZIP archive of .npy files."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._headers: dict[str, _Header] = {}
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            with archive.open(info) as stream:
                header = _read_header(stream, info.filename.removesuffix(".npy"))
            _refuse_claim(header, info.file_size - header.start)
            stored = info.compress_type == zipfile.ZIP_STORED
            _refuse_claim(header, info.compress_size * (1 if stored else _DENSEST) + _SLACK)
            self._headers[header.array.name] = header
        self.arrays = {name: header.array for name, header in self._headers.items()}

    def check(self, array: Array) -> None:
        header = self._headers[array.name]
        if header.fortran and len(array.shape) > 1:
            raise ValueError(
                f"{array.name} is in Fortran order; save np.ascontiguousarray({array.name})"
            )

    def blocks(self, array: Array) -> Iterator[np.ndarray]:
        with self._archive.open(f"{array.name}.npy") as stream:
            stream.read(self._headers[array.name].start)
            yield from _stream_blocks(stream, array)


class _Hdf5:
    """An HDF5 file."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self.arrays: dict[str, Array] = {}

        def collect(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.shape is not None:
                self.arrays[name] = Array(name=name, shape=item.shape, dtype=item.dtype)

        file.visititems(collect)

    def check(self, array: Array) -> None:
        dataset = local_dataset(self._file, array.name)
        if array.shape and not array.dtype.hasobject:
            check_claim(array.name, dataset, int(self._file.id.get_filesize()))

    def blocks(self, array: Array) -> Iterator[np.ndarray]:
        dataset = self._file[array.name]
        rows = array.block
        if dataset.chunks and dataset.chunks[0] * array.row_bytes <= 32 * BLOCK_BYTES:
            # Whole chunks: each is decompressed once.
            rows = max(rows - rows % dataset.chunks[0], dataset.chunks[0])
        for start in range(0, array.shape[0], rows):
            yield np.asarray(dataset[start : start + rows])


@contextmanager
def _npy(path: Path) -> Iterator[_Npy]:
    with path.open("rb") as stream:
        yield _Npy(path, stream)


@contextmanager
def _npz(path: Path) -> Iterator[_Npz]:
    with zipfile.ZipFile(path) as archive:
        yield _Npz(archive)


@contextmanager
def _hdf5(path: Path) -> Iterator[_Hdf5]:
    with h5py.File(path if os.name == "nt" else os.fsencode(path), "r", locking=False) as file:
        if "fingerprint" in file.attrs:
            raise InputError(f"{path}: is a cache of this program already; it needs no import")
        yield _Hdf5(file)


def _refuse_claim(header: _Header, room: int) -> None:
    """Refuse an array of more bytes than its file can hold, before anything is allocated."""
    if not header.array.dtype.hasobject and header.bytes > room:
        name = header.array.name or "its header"
        raise ValueError(f"{name} claims {header.bytes:,} bytes; the file has {max(room, 0):,}")


_OPEN: dict[str, Callable[[Path], AbstractContextManager[ArrayFile]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
}

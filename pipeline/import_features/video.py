"""The feature cache of one file: read block by block, checked, scaled, written as float16."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.cache.features import create_features, open_features
from data.cache.folder import cache_path
from data.cache.header import Header, recorded_path
from data.errors import InputError
from data.sources import Source
from data.video.reading import file_digest
from pipeline.import_features.arrays import DAMAGE, Array, ArrayFile, open_arrays, unreadable
from pipeline.import_features.plan import find_features
from pipeline.import_features.settings import ImportResult, ImportSettings
from pipeline.import_features.timing import read_timing
from pipeline.runner.files import check_room

#: The greatest value of float16, and the least with all its digits.
_MOST, _LEAST = 65504.0, 2.0**-14


def import_one(source: Source, settings: ImportSettings, output: Path) -> ImportResult:
    """Write the feature cache of one file.

    Raises
    ------
    InputError
        The file cannot be read, or holds what features cannot be.
    CacheError
        The cache cannot be written.
    """
    path = cache_path(output, source.key)
    check_room(path)
    digest = file_digest(source.path)
    with open_arrays(source.path) as file:
        features = find_features(source.path, file, settings)
        timing = read_timing(source.path, file, features.rows, settings)
        header = Header(
            kind="features",
            source=recorded_path(source.path),
            source_size=source.path.stat().st_size,
            source_digest=digest,
            decoded_frames=timing.frames,
            parameters=settings.parameters,
            versions={name: importlib.metadata.version(name) for name in ("h5py", "numpy")},
        )
        greatest = 0.0
        with create_features(
            path, header, timing.frame_index, timing.time, features.shape
        ) as writer:
            for row, maps in _rows(source.path, file, features.array, settings.scale):
                greatest = max(greatest, float(np.abs(maps).max()))
                check_room(path)
                for offset, each in enumerate(maps):
                    writer.put(row + offset, each.reshape(features.shape))
    return ImportResult(path, features.rows, True, _notes(greatest))


def describe(path: Path) -> ImportResult:
    """Return what is known of a valid cache that already exists."""
    with open_features(path) as cache:
        return ImportResult(path, len(cache), False, cache.header.warnings)


def _rows(
    path: Path, file: ArrayFile, array: Array, scale: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row of each block, and its scaled values, which float16 can hold.

    Raises
    ------
    InputError
        Values that are not finite, or too large.
    """
    row = 0
    precise = np.dtype(np.float64 if array.dtype.itemsize > 4 else np.float32)
    for block in _reading(path, file, array):
        values = block.astype(precise)
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            bad = int(np.flatnonzero(~finite)[0])
            raise InputError(
                f"{path}: feature {row + bad} (counted from 0) holds values that are not finite "
                "(NaN or infinite); extract it again, or leave the file out with --exclude"
            )
        greatest = float(np.abs(values).max()) * scale
        if greatest > _MOST:
            remedy = 10.0 ** math.floor(math.log10(_MOST / greatest * scale))
            raise InputError(
                f"{path}: values up to {greatest:.3g} do not fit into float16, which ends at "
                f"{_MOST:.0f}; give --scale {remedy:g} for all files"
            )
        values *= precise.type(scale)
        yield row, values
        row += len(values)


def _reading(path: Path, file: ArrayFile, array: Array) -> Iterator[np.ndarray]:
    """Yield blocks; what goes wrong while reading is told as the file's, not as the cache's."""
    blocks = file.blocks(array)
    while True:
        try:
            block = next(blocks)
        except StopIteration:
            return
        except DAMAGE as error:
            raise unreadable(path, error) from error
        yield block


def _notes(greatest: float) -> tuple[str, ...]:
    """Return a notice where all values of a file lose digits in float16."""
    if not 0 < greatest < _LEAST:
        return ()
    remedy = 10.0 ** math.floor(-math.log10(greatest))
    return (f"values up to {greatest:.2g} lose digits in float16; --scale {remedy:g} keeps them",)

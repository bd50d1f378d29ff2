"""When each feature of a file was: from a rate, from time stamps, or from the file's own frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import InputError
from pipeline.import_features.arrays import Array, ArrayFile, read_all
from pipeline.import_features.settings import ImportSettings, check_rate

#: Names of the arrays of a feature cache (README, "Caches").
TIME, FRAME_INDEX = "time", "frame_index"
#: A video of eleven days; larger time stamps are in another unit.
_LONGEST = 1e6


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When features were.

    Attributes
    ----------
    time : ndarray (T,) float64
        Seconds; strictly increasing.
    frame_index : ndarray (T,) int64
        The same as frames.
    frames : int
        Frames of the video, as far as the features reach.
    """

    time: np.ndarray
    frame_index: np.ndarray
    frames: int


def read_timing(path: Path, file: ArrayFile, count: int, settings: ImportSettings) -> Timing:
    """Return when the `count` features of a file were.

    A rate puts feature k in the middle of its part of the video, (k + ½) / rate seconds.

    Raises
    ------
    InputError
        There is neither a rate nor an array of time stamps, or that array cannot be used.
    """
    check_rate(settings.rate, path.suffix.lower())
    per_second = settings.frames_a_second
    if settings.rate is not None:
        time = (np.arange(count) + 0.5) / settings.rate
        return _on_timeline(time, count / settings.rate, per_second)
    array = _stamps(path, file, settings.times or TIME, count)
    unit = 1e-3 if settings.time_unit == "ms" else 1.0
    time = read_all(path, file, array).astype(np.float64) * unit
    _check_increasing(f"{path}: {array.name}", time)
    if time[-1] > _LONGEST:
        raise InputError(
            f"{path}: {array.name} goes up to {time[-1]:.4g} s; are the stamps in milliseconds? "
            "then give --time-unit ms"
        )
    own = file.arrays.get(FRAME_INDEX)
    if own is not None and settings.times is None and settings.fps is None:
        return _own_frames(path, file, own, time)
    gap = float(np.median(np.diff(time))) if count > 1 else 0.0
    # Stamps from 0 on are the beginnings of parts of the video, others their middles.
    return _on_timeline(time, float(time[-1]) + max(gap - float(time[0]), gap / 2), per_second)


def _on_timeline(time: np.ndarray, end: float, per_second: float) -> Timing:
    """Return times with the frames of a video that has so many a second and ends at `end` s."""
    frame_index = np.floor(time * per_second).astype(np.int64)
    frames = max(math.ceil(end * per_second), int(frame_index[-1]) + 1)
    return Timing(time=time, frame_index=frame_index, frames=frames)


def _own_frames(path: Path, file: ArrayFile, array: Array, time: np.ndarray) -> Timing:
    """Return times with the frame indices that the file itself holds."""
    if array.shape != time.shape or array.dtype.kind not in "iu":
        raise InputError(f"{path}: expected {FRAME_INDEX} ({len(time)}, int64), found {array}")
    frame_index = read_all(path, file, array).astype(np.int64)
    _check_increasing(f"{path}: {FRAME_INDEX}", frame_index)
    gap = int(np.median(np.diff(frame_index))) if len(frame_index) > 1 else 1
    return Timing(time=time, frame_index=frame_index, frames=int(frame_index[-1]) + gap)


def _stamps(path: Path, file: ArrayFile, name: str, count: int) -> Array:
    """Return the array of time stamps."""
    array = file.arrays.get(name)
    if array is None:
        raise InputError(
            f"{path}: no time stamps ({name}); give --rate, the features a second, or --times, the "
            f"name of their array, out of {', '.join(map(str, file.arrays.values()))}"
        )
    if array.shape != (count,) or array.dtype.kind not in "fiu":
        raise InputError(f"{path}: expected {count} time stamps, one a feature, found {array}")
    return array


def _check_increasing(name: str, values: np.ndarray) -> None:
    """Refuse stamps that are not finite, negative, or do not increase."""
    if not np.isfinite(values).all():
        raise InputError(f"{name} holds values that are not finite")
    if values[0] < 0:
        raise InputError(f"{name} begins at {values[0]:g}; the video begins at 0")
    back = np.flatnonzero(np.diff(values) <= 0)
    if len(back):
        row = int(back[0]) + 1
        raise InputError(
            f"{name} does not increase: {values[row]:g} follows {values[row - 1]:g} (row {row}, "
            "counted from 0); sort the features by time"
        )

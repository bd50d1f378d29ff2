"""Frames of one video file, in order and in one pass, with interlaced ones made usable."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import VideoError
from data.video.capture import (
    filters_available,
    grabbed,
    opened,
    opened_as_filter,
    rotation_of,
)
from data.video.frame_folder import Frame

_TURNS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


def read_file(path: Path, wanted: NDArray[np.int64]) -> Iterator[tuple[int, Frame]]:
    """Read frames directly until two are the same; from there on through a filter.

    Two frames alike to the last bit are either a picture that stands still, and both ways give the
    same, or an interlaced frame that OpenCV 5 did not convert (see `opened_as_filter`).
    """
    if not len(wanted):
        return
    if not _repeats_at_start(path):
        repeated = yield from _read_directly(path, wanted)
        if repeated is None:
            return
        wanted = wanted[wanted >= repeated]
    yield from _read_as_filter(path, wanted)


def _read_directly(
    path: Path, wanted: NDArray[np.int64]
) -> Generator[tuple[int, Frame], None, int | None]:
    """Yield wanted frames; return the number of the first that repeats the one before."""
    lost: list[int] = []
    previous: Frame | None = None
    with opened(path) as capture:
        for number, frame in _retrieved(path, capture, wanted, lost):
            repeats = previous is not None and np.array_equal(frame, previous)
            # After damage the filter may count frames otherwise.
            if repeats and not lost and filters_available():
                return number
            yield number, frame
            previous = frame
    return None


def _read_as_filter(path: Path, wanted: NDArray[np.int64]) -> Iterator[tuple[int, Frame]]:
    """Yield wanted frames, with interlaced ones converted."""
    with opened(path) as capture:
        rotation = rotation_of(capture)
    with opened_as_filter(path) as capture:
        for number, frame in _retrieved(path, capture, wanted, []):
            yield number, cv2.rotate(frame, _TURNS[rotation]) if rotation else frame


def _retrieved(
    path: Path, capture: cv2.VideoCapture, wanted: NDArray[np.int64], lost: list[int]
) -> Iterator[tuple[int, Frame]]:
    """Grab all frames up to the last wanted one and retrieve those that are wanted."""
    remaining = iter(wanted.tolist())
    index = next(remaining)
    for number in grabbed(capture, lost):
        if number != index:
            continue
        retrieved, frame = capture.retrieve()
        if not retrieved or frame is None:
            raise VideoError(f"{path}: frame {number} was decoded but cannot be converted to BGR")
        yield number, frame
        index = next(remaining, None)
        if index is None:
            return
    raise VideoError(f"{path}: frame {index} is wanted, but the video cannot be decoded that far")


def _first_two(path: Path, capture: cv2.VideoCapture) -> list[Frame]:
    """Retrieve the first two frames that can be grabbed, or as many as there are."""
    frames = []
    for number in grabbed(capture, []):
        retrieved, frame = capture.retrieve()
        if not retrieved or frame is None:
            raise VideoError(f"{path}: frame {number} was decoded but cannot be converted to BGR")
        frames.append(frame)
        if len(frames) == 2:
            break
    return frames


def _repeats_at_start(path: Path) -> bool:
    """Whether the second frame is the first again, or there is none to tell by."""
    if not filters_available():
        return False
    with opened(path) as capture:
        frames = _first_two(path, capture)
    return len(frames) < 2 or np.array_equal(frames[0], frames[1])


def interlaced(path: Path) -> str | None:
    """Say so when the first frames are interlaced and OpenCV did not convert them."""
    if not _repeats_at_start(path):
        return None
    with opened(path) as capture:
        rotation = rotation_of(capture)
        direct = _first_two(path, capture)
    with opened_as_filter(path) as capture:
        woven = _first_two(path, capture)
    if rotation:
        woven = [cv2.rotate(frame, _TURNS[rotation]) for frame in woven]
    if all(np.array_equal(one, other) for one, other in zip(direct, woven, strict=True)):
        return None
    return (
        "interlaced: both fields are woven into each frame; for cleaner flow deinterlace first, "
        "for example: ffmpeg -i IN -vf bwdif OUT.mp4"
    )

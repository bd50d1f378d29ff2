"""Reading video, once and in order: headers are not believed and nothing seeks.

A header's frame count can be far off (edit lists, truncated files, raw streams), and seeking is
slower than reading on and lands on wrong frames in several containers. So `scan` grabs every frame
once to learn what can be decoded, and `read_frames` grabs them all again and retrieves those that
are wanted; both count frames in the same way, with one decoding thread, so indices agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.capture import (
    claimed_frames,
    codec_of,
    filters_available,
    grabbed,
    opened,
    opened_as_filter,
    rotation_of,
)
from data.container import counts_frames
from data.errors import VideoError
from data.frame_folder import Frame, folder_digest, read_folder, scan_folder
from data.timestamps import usable_times
from data.video_info import VideoInfo

__all__ = ["Frame", "VideoInfo", "file_digest", "read_frames", "scan"]

_CHUNK = 1 << 20
# How far stated and decoded duration may differ: sound may end later, stamps are rounded.
_DURATION_FRAMES, _DURATION_SHARE = 3, 0.01
_TURNS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


def scan(path: str | Path, *, strict: bool = False) -> VideoInfo:
    """Decode a video once to learn what is in it.

    Parameters
    ----------
    path
        A video file, or a folder of numbered frames.
    strict
        Refuse damaged videos, and those whose header claims another number of frames than can be
        decoded, rather than warn.

    Raises
    ------
    VideoError
        When nothing can be decoded; under `strict` also for damage.
    """
    path = Path(path)
    if path.is_dir():
        return scan_folder(path, strict)
    _check_file(path)
    stamps: list[float] = []
    lost: list[int] = []
    with opened(path) as capture:
        claimed = claimed_frames(capture)
        for _ in grabbed(capture, lost):
            stamps.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        if not stamps:
            raise VideoError(_undecodable(path, codec_of(capture), claimed))
        rotation = rotation_of(capture)
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        stated_fps = capture.get(cv2.CAP_PROP_FPS)
    times, fps, unstamped = usable_times(np.array(stamps, dtype=np.float64), stated_fps)
    damage = _damage(claimed, len(stamps), lost)
    if not lost and _only_estimated(path, claimed, fps, times):
        damage.clear()
    if damage and strict:
        raise VideoError(f"{path}: {'; '.join(damage)}")
    notes = [note for note in (unstamped, _interlaced(path)) if note]
    return VideoInfo(
        path=path,
        size=path.stat().st_size,
        digest=file_digest(path),
        claimed_frames=claimed,
        frames=len(stamps),
        width=width,
        height=height,
        rotation=rotation,
        fps=fps,
        times=times,
        warnings=(*damage, *notes),
    )


def read_frames(
    path: str | Path, indices: Sequence[int] | NDArray[np.integer]
) -> Iterator[tuple[int, Frame]]:
    """Yield (index, frame) of the wanted frames, in one pass over the video.

    Parameters
    ----------
    path
        A video file, or a folder of numbered frames.
    indices
        Frame numbers as `scan` counts them, strictly increasing.

    Yields
    ------
    tuple[int, ndarray]
        Frame number and (H, W, 3) uint8 BGR picture, rotated as the file asks.

    Raises
    ------
    ValueError
        When the indices are negative or not strictly increasing.
    VideoError
        When a wanted frame cannot be decoded.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    if wanted.ndim != 1 or (np.diff(wanted) <= 0).any() or (wanted < 0).any():
        raise ValueError("frame indices must be strictly increasing and not negative")
    path = Path(path)
    if path.is_dir():
        return read_folder(path, wanted)
    _check_file(path)
    return _read_file(path, wanted)


def _read_file(path: Path, wanted: NDArray[np.int64]) -> Iterator[tuple[int, Frame]]:
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


def _interlaced(path: Path) -> str | None:
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


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes, or of the names and bytes of a folder's frames."""
    path = Path(path)
    if path.is_dir():
        return folder_digest(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _damage(claimed: int, decoded: int, lost: list[int]) -> list[str]:
    """Say what shows that the file is damaged or its header wrong."""
    found = []
    if lost:
        times = "once" if len(lost) == 1 else f"{len(lost)} times"
        found.append(f"damaged: decoding failed {times}, first after {lost[0]} frames")
    if claimed >= 0 and claimed != decoded:
        found.append(f"the header claims {claimed} frames, {decoded} could be decoded")
    return found


def _only_estimated(path: Path, claimed: int, fps: float, times: NDArray[np.float64]) -> bool:
    """Whether a claim is the header's duration times its rate, and the frames last that long.

    Matroska, MPEG and others count no frames; at a variable rate the product is any number.
    """
    if counts_frames(path):
        return False
    lasting = times[-1] + 1 / fps
    return abs(claimed / fps - lasting) <= max(_DURATION_FRAMES / fps, _DURATION_SHARE * lasting)


def _undecodable(path: Path, codec: str, claimed: int) -> str:
    """Say that a stream is there but OpenCV has no decoder for it."""
    claims = f", {claimed} frames claimed" if claimed >= 0 else ""
    return (
        f"{path}: holds video (codec {codec}{claims}), but this OpenCV cannot decode it; "
        "convert it, for example: ffmpeg -i IN -c:v libx264 OUT.mp4"
    )


def _check_file(path: Path) -> None:
    """Refuse what is not a readable, non-empty file."""
    if not path.exists():
        raise VideoError(f"{path}: no such file")
    if not path.is_file():
        raise VideoError(f"{path}: expected a video file or a folder of frames, found neither")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from error
    if empty:
        raise VideoError(f"{path}: the file is empty (0 bytes)")

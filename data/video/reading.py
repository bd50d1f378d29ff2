"""Reading video, once and in order: headers are not trusted and nothing seeks.

A header's frame count can be far off (edit lists, truncated files, raw streams), and seeking is
slower than reading on and hits wrong frames in several containers. So `scan` grabs every frame
once to learn what can be decoded, and `read_frames` grabs them all again and retrieves the wanted
ones; both count frames in the same way, with one decoding thread, so indices agree.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import VideoError
from data.video.capture import (
    claimed_frames,
    codec_of,
    grabbed,
    interlaced,
    opened,
    rotation_of,
)
from data.video.container import counts_frames
from data.video.frame_folder import Frame, folder_digest, read_folder, scan_folder
from data.video.info import VideoInfo, usable_times

_CHUNK = 1 << 20
# How far stated and decoded duration may differ: sound may end later, stamps are rounded.
_DURATION_FRAMES, _DURATION_SHARE = 3, 0.01
_INTERLACED = (
    "interlaced: both fields are woven into each frame; for cleaner flow deinterlace first, "
    "for example: ffmpeg -i IN -vf bwdif OUT.mp4"
)


def scan(path: str | Path, *, strict: bool = False, threads: int = 1) -> VideoInfo:
    """Decode a video once to learn what is in it.

    Parameters
    ----------
    path
        A video file, or a folder of numbered frames.
    strict
        Refuse damaged videos, and those whose header claims another number of frames than can be
        decoded, instead of warning.
    threads
        Decoding threads where the header counts frames. They do not change the result: one thread
        decodes again wherever several found another number of frames than the header claims.

    Raises
    ------
    VideoError
        Nothing can be decoded; under `strict` also for damage.
    """
    path = Path(path)
    if path.is_dir():
        return scan_folder(path, strict)
    _check_file(path)
    several = threads if counts_frames(path) else 1
    decoded = _decoded(path, several)
    if several > 1 and (decoded.lost or decoded.claimed != len(decoded.stamps)):
        decoded = _decoded(path, 1)
    times, fps, unstamped = usable_times(np.array(decoded.stamps, np.float64), decoded.stated_fps)
    damage = _damage(decoded.claimed, len(times), decoded.lost)
    if not decoded.lost and _only_estimated(path, decoded.claimed, fps, times):
        damage.clear()
    if damage and strict:
        raise VideoError(f"{path}: {'; '.join(damage)}")
    notes = [note for note in (unstamped, _INTERLACED if interlaced(path) else None) if note]
    return VideoInfo(
        path=path,
        size=path.stat().st_size,
        digest=file_digest(path),
        claimed_frames=decoded.claimed,
        frames=len(times),
        width=decoded.width,
        height=decoded.height,
        rotation=decoded.rotation,
        fps=fps,
        times=times,
        warnings=(*damage, *notes),
    )


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """The result of one pass over a video file."""

    claimed: int
    stamps: array[float]  # seconds
    lost: list[int]
    rotation: int
    width: int
    height: int
    stated_fps: float


def _decoded(path: Path, threads: int) -> _Decoded:
    """Grab every frame; VideoError when there is none."""
    stamps: array[float] = array("d")
    lost: list[int] = []
    with opened(path, threads) as capture:
        claimed = claimed_frames(capture)
        for _ in grabbed(capture, lost):
            stamps.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        if not stamps:
            raise VideoError(_undecodable(path, codec_of(capture), claimed))
        return _Decoded(
            claimed=claimed,
            stamps=stamps,
            lost=lost,
            rotation=rotation_of(capture),
            width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            stated_fps=capture.get(cv2.CAP_PROP_FPS),
        )


def read_frames(
    path: str | Path, indices: Sequence[int] | NDArray[np.integer]
) -> Iterator[tuple[int, Frame]]:
    """Yield (index, frame) of the wanted frames in one pass over the video.

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
        The indices are negative or not strictly increasing.
    VideoError
        A wanted frame cannot be decoded.
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
    """Grab all frames of a file up to the last wanted one and yield those that are wanted."""
    remaining = iter(wanted.tolist())
    index = next(remaining, None)
    if index is None:
        return
    with opened(path) as capture:
        for number in grabbed(capture, []):
            if number != index:
                continue
            retrieved, frame = capture.retrieve()
            if not retrieved or frame is None:
                raise VideoError(
                    f"{path}: frame {number} was decoded but cannot be converted to BGR"
                )
            yield number, frame
            index = next(remaining, None)
            if index is None:
                return
    raise VideoError(f"{path}: frame {index} is wanted, but the video cannot be decoded that far")


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
    """Signs that the file is damaged or its header wrong, one line each."""
    damage = []
    if lost:
        times = "once" if len(lost) == 1 else f"{len(lost)} times"
        damage.append(f"damaged: decoding failed {times}, first after {lost[0]} frames")
    if claimed >= 0 and claimed != decoded:
        damage.append(f"the header claims {claimed} frames, {decoded} could be decoded")
    return damage


def _only_estimated(path: Path, claimed: int, fps: float, times: NDArray[np.float64]) -> bool:
    """Whether a claim is the header's duration times its rate, and the frames last that long.

    Matroska, MPEG and others do not count frames; at a variable rate the product is any number.
    """
    if counts_frames(path):
        return False
    lasting = times[-1] + 1 / fps
    return abs(claimed / fps - lasting) <= max(_DURATION_FRAMES / fps, _DURATION_SHARE * lasting)


def _undecodable(path: Path, codec: str, claimed: int) -> str:
    """Message for a stream that OpenCV has no decoder for."""
    claims = f", {claimed} frames claimed" if claimed >= 0 else ""
    return (
        f"{path}: holds video (codec {codec}{claims}), but this OpenCV cannot decode it; "
        "convert it, for example: ffmpeg -i IN -c:v libx264 OUT.mp4"
    )


def _check_file(path: Path) -> None:
    """Refuse a path that is not a readable, non-empty file."""
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

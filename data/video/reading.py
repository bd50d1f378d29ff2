"""Reading video, once and in order: headers are not believed and nothing seeks.

A header's frame count can be far off (edit lists, truncated files, raw streams), and seeking is
slower than reading on and lands on wrong frames in several containers. So `scan` grabs every frame
once to learn what can be decoded, and `read_frames` grabs them all again and retrieves those that
are wanted; both count frames in the same way, with one decoding thread, so indices agree.
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
    opened,
    rotation_of,
)
from data.video.container import counts_frames
from data.video.frame_folder import Frame, folder_digest, read_folder, scan_folder
from data.video.frames import interlaced, read_file
from data.video.info import VideoInfo
from data.video.timestamps import usable_times

__all__ = ["Frame", "VideoInfo", "file_digest", "read_frames", "scan"]

_CHUNK = 1 << 20
# How far stated and decoded duration may differ: sound may end later, stamps are rounded.
_DURATION_FRAMES, _DURATION_SHARE = 3, 0.01


def scan(path: str | Path, *, strict: bool = False, threads: int = 1) -> VideoInfo:
    """Decode a video once to learn what is in it.

    Parameters
    ----------
    path
        A video file, or a folder of numbered frames.
    strict
        Refuse damaged videos, and those whose header claims another number of frames than can be
        decoded, rather than warn.
    threads
        Decode by so many where the header counts frames. The result is the same: it rests on one
        thread wherever several found another number of frames than the header claims.

    Raises
    ------
    VideoError
        When nothing can be decoded; under `strict` also for damage.
    """
    path = Path(path)
    if path.is_dir():
        return scan_folder(path, strict)
    _check_file(path)
    several = threads if counts_frames(path) else 1
    found = _decoded(path, several)
    if several > 1 and (found.lost or found.claimed != len(found.stamps)):
        found = _decoded(path, 1)
    times, fps, unstamped = usable_times(np.array(found.stamps, np.float64), found.stated_fps)
    damage = _damage(found.claimed, len(times), found.lost)
    if not found.lost and _only_estimated(path, found.claimed, fps, times):
        damage.clear()
    if damage and strict:
        raise VideoError(f"{path}: {'; '.join(damage)}")
    notes = [note for note in (unstamped, interlaced(path)) if note]
    return VideoInfo(
        path=path,
        size=path.stat().st_size,
        digest=file_digest(path),
        claimed_frames=found.claimed,
        frames=len(times),
        width=found.width,
        height=found.height,
        rotation=found.rotation,
        fps=fps,
        times=times,
        warnings=(*damage, *notes),
    )


@dataclass(frozen=True)
class _Decoded:
    """What one pass over a video file tells."""

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
    return read_file(path, wanted)


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

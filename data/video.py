"""Reading video, once and in order: headers are not believed and nothing seeks.

A header's frame count can be far off (edit lists, truncated files, raw streams), and seeking is
slower than reading on and lands on wrong frames in several containers. So `scan` grabs every frame
once to learn what can be decoded, and `read_frames` grabs them all again and retrieves those that
are wanted; both count frames in the same way, with one decoding thread, so indices agree.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# FFmpeg's own messages would drown the one line that the user gets; a value set outside is kept.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import VideoError
from data.frame_folder import Frame, folder_digest, read_folder, scan_folder
from data.timestamps import usable_times
from data.video_info import VideoInfo

__all__ = ["VideoInfo", "file_digest", "read_frames", "scan"]

if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_CHUNK = 1 << 20
# A damaged packet makes one grab fail and the next go on. After the claimed number of frames
# (or of an unknown number) this many failures in a row are the end.
_FAILURES_AT_END = 8
_MOST_FAILURES = 2000


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
    with _opened(path) as capture:
        claimed = _claimed_frames(capture)
        stamps: list[float] = []
        lost: list[int] = []
        for _ in _grabbed(capture, claimed, lost):
            stamps.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        if not stamps:
            raise VideoError(_undecodable(path, capture, claimed))
        rotation = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        stated_fps = capture.get(cv2.CAP_PROP_FPS)
    times, fps, unstamped = usable_times(np.array(stamps, dtype=np.float64), stated_fps)
    damage = _damage(claimed, len(stamps), lost)
    if damage and strict:
        raise VideoError(f"{path}: {'; '.join(damage)}")
    return VideoInfo(
        path=path,
        size=path.stat().st_size,
        digest=file_digest(path),
        claimed_frames=claimed,
        frames=len(stamps),
        width=width,
        height=height,
        rotation=rotation if rotation in (90, 180, 270) else 0,
        fps=fps,
        times=times,
        warnings=(*damage, *([unstamped] if unstamped else [])),
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
        When the indices are not strictly increasing or negative.
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
    remaining = iter(wanted.tolist())
    index = next(remaining, None)
    if index is None:
        return
    with _opened(path) as capture:
        for number in _grabbed(capture, _claimed_frames(capture), []):
            if number != index:
                continue
            retrieved, frame = capture.retrieve()
            if not retrieved or frame is None:
                raise VideoError(f"{path}: frame {number} was read but cannot be converted")
            yield number, frame  # type: ignore[misc]  # OpenCV's stubs do not say uint8
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


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    """Open a video with one decoding thread (workers run side by side); always release it."""
    # An absolute path keeps FFmpeg from reading "12:30.mp4" as a protocol.
    capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            raise VideoError(
                f"{path}: OpenCV finds no video in it (not a video file, sound only, or damaged)"
            )
        yield capture
    finally:
        capture.release()


def _grabbed(capture: cv2.VideoCapture, claimed: int, lost: list[int]) -> Iterator[int]:
    """Grab frame after frame and yield its number, going on after damaged packets.

    `lost` receives the number of good frames before each failure that good frames follow.
    """
    number, failures = 0, 0
    while failures <= min(max(claimed - number, 0) + _FAILURES_AT_END, _MOST_FAILURES):
        if not capture.grab():
            failures += 1
            continue
        lost.extend([number] * failures)
        failures = 0
        yield number
        number += 1


def _claimed_frames(capture: cv2.VideoCapture) -> int:
    """Frames that the header claims; -1 when it does not say (raw streams give nonsense)."""
    claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(claimed) if 0 < claimed < 2**40 else -1


def _damage(claimed: int, decoded: int, lost: list[int]) -> list[str]:
    """Say what shows that the file is damaged or its header wrong."""
    found = []
    if lost:
        found.append(f"damaged: decoding failed {len(lost)} times, first after frame {lost[0]}")
    if claimed >= 0 and claimed != decoded:
        found.append(f"the header claims {claimed} frames, {decoded} could be decoded")
    return found


def _undecodable(path: Path, capture: cv2.VideoCapture, claimed: int) -> str:
    """Say that a stream is there but its codec is unknown to OpenCV."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    name = code.to_bytes(4, "little").decode("latin-1").strip("\0 ")
    codec = name if name.isprintable() and name else "unknown"
    claims = f"; the header claims {claimed} frames" if claimed >= 0 else ""
    return (
        f"{path}: holds video (codec {codec}{claims}), but OpenCV cannot decode it; "
        "convert it, for example: ffmpeg -i IN -c:v libx264 OUT.mp4"
    )


def _check_file(path: Path) -> None:
    if not path.exists():
        raise VideoError(f"{path}: no such file")
    if not path.is_file():
        raise VideoError(f"{path}: not a regular file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes)")

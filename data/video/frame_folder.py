"""Folders of numbered frames read as videos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import VideoError
from data.video.frame_names import frame_files
from data.video.info import DEFAULT_FPS, VideoInfo

_MISSING_SHOWN = 5

# (H, W, 3) uint8; OpenCV's stubs promise no more than this.
Frame = cv2.typing.MatLike


def scan_folder(folder: Path, strict: bool) -> VideoInfo:
    """Decode all frames of a folder once; see `data.video.reading.scan`.

    A folder has no time stamps: 25 frames a second are assumed, and a warning says so.
    """
    files = frame_files(folder)
    digest, size = hashlib.sha256(), 0
    shape: tuple[int, ...] | None = None
    for _, path in files:
        content = _content(path)
        size += len(content)
        _add_to_digest(digest, path, content)
        shape = _decode(path, content, shape).shape
    missing = _missing_numbers([number for number, _ in files])
    if missing and strict:
        raise VideoError(f"{folder}: {missing}")
    assumed = f"a folder of frames has no time stamps; {DEFAULT_FPS:g} frames a second assumed"
    height, width = shape[:2] if shape else (0, 0)
    return VideoInfo(
        path=folder,
        size=size,
        digest=digest.hexdigest(),
        claimed_frames=-1,
        frames=len(files),
        width=width,
        height=height,
        rotation=0,
        fps=DEFAULT_FPS,
        times=np.arange(len(files), dtype=np.float64) / DEFAULT_FPS,
        warnings=(assumed, missing) if missing else (assumed,),
    )


def read_folder(folder: Path, indices: NDArray[np.int64]) -> Iterator[tuple[int, Frame]]:
    """Yield the wanted frames of a folder; see `data.video.reading.read_frames`."""
    files = frame_files(folder)
    shape: tuple[int, ...] | None = None
    for index in indices.tolist():
        if index >= len(files):
            raise VideoError(f"{folder}: frame {index} is wanted, found only {len(files)} frames")
        path = files[index][1]
        frame = _decode(path, _content(path), shape)
        shape = frame.shape
        yield index, frame


def folder_digest(folder: Path) -> str:
    """SHA-256 (hex) over the names and bytes of a folder's frames, in order."""
    digest = hashlib.sha256()
    for _, path in frame_files(folder):
        _add_to_digest(digest, path, _content(path))
    return digest.hexdigest()


def _add_to_digest(digest: hashlib._Hash, path: Path, content: bytes) -> None:
    # Lengths are included, so that no two folders give the same bytes.
    name = path.name.encode("utf-8", "surrogateescape")
    digest.update(f"{len(name)} {len(content)}\n".encode())
    digest.update(name)
    digest.update(content)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VideoError(f"{path}: frame cannot be read: {error.strerror}") from error


def _decode(path: Path, content: bytes, shape: tuple[int, ...] | None) -> Frame:
    """Decode an image to (H, W, 3) BGR; its size must be that of the earlier frames."""
    data = np.frombuffer(content, dtype=np.uint8)
    frame = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if frame is None:
        raise VideoError(f"{path}: frame cannot be decoded as an image; replace or remove it")
    if shape is not None and frame.shape != shape:
        raise VideoError(
            f"{path}: frame is {frame.shape[1]}x{frame.shape[0]} px, the frames before it are "
            f"{shape[1]}x{shape[0]}; all frames of a video have one size"
        )
    return frame


def _missing_numbers(numbers: list[int]) -> str | None:
    """List the numbers between the first and the last that have no frame."""
    gaps = []
    for before, after in pairwise(numbers):
        if after - before > 1:
            gaps.append(f"{before + 1}" if after - before == 2 else f"{before + 1}-{after - 1}")
    if not gaps:
        return None
    shown = ", ".join(gaps[:_MISSING_SHOWN]) + (", …" if len(gaps) > _MISSING_SHOWN else "")
    return f"frames are missing from the numbering: {shown}"

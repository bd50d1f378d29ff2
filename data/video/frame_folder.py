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
from data.video.file import Frame
from data.video.frame_names import frame_files
from data.video.info import DEFAULT_FPS, VideoInfo

_MISSING_SHOWN = 5


def scan_folder(folder: Path, strict: bool) -> VideoInfo:
    """Decode all frames of a folder once; see `data.video.reading.scan`.

    A folder has no time stamps: 25 frames a second are assumed, and a warning says so. A picture
    that cannot be decoded is a damaged frame: it is left out, and the others keep their times.
    """
    files = frame_files(folder)
    digest, size = hashlib.sha256(), 0
    broken: list[Path] = []
    kept: list[int] = []
    shape: tuple[int, ...] = (0, 0)
    for place, content, frame in _decoded(files, broken):
        size += len(content)
        _add_to_digest(digest, files[place][1], content)
        if frame is not None:
            kept.append(place)
            shape = frame.shape
    if frame_files(folder) != files:
        raise VideoError(f"{folder}: changed while it was read; run again when it is complete")
    if not kept:
        raise VideoError(f"{broken[0]}: frame cannot be decoded as an image, nor can any other")
    damage = [each for each in (_broken(broken, len(files)), _missing_numbers(files)) if each]
    if damage and strict:
        raise VideoError(f"{folder}: {'; '.join(damage)}")
    assumed = f"a folder of frames has no time stamps; {DEFAULT_FPS:g} frames a second assumed"
    return VideoInfo(
        path=folder,
        size=size,
        digest=digest.hexdigest(),
        claimed_frames=-1,
        frames=len(kept),
        width=shape[1],
        height=shape[0],
        rotation=0,
        mirrored=False,
        fps=DEFAULT_FPS,
        times=np.array(kept, np.float64) / DEFAULT_FPS,
        warnings=(assumed, *damage),
    )


def read_folder(folder: Path, indices: NDArray[np.int64]) -> Iterator[tuple[int, Frame]]:
    """Yield the wanted frames of a folder; see `data.video.reading.read_frames`."""
    wanted = set(indices.tolist())
    number = 0
    for _, _, frame in _decoded(frame_files(folder), []) if wanted else ():
        if frame is None:
            continue
        if number in wanted:
            wanted.remove(number)
            yield number, frame
        if not wanted:
            return
        number += 1
    if wanted:
        raise VideoError(f"{folder}: frame {min(wanted)} is wanted, found only {number} frames")


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


def _decoded(
    files: list[tuple[int, Path]], broken: list[Path]
) -> Iterator[tuple[int, bytes, Frame | None]]:
    """Yield place, content and (H, W, 3) BGR frame of each file; None, and `broken`, for damage.

    All frames must have the size of the first.
    """
    shape: tuple[int, ...] | None = None
    for place, (_, path) in enumerate(files):
        content = _content(path)
        data = np.frombuffer(content, dtype=np.uint8)
        frame = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        if frame is None:
            broken.append(path)
        elif shape is not None and frame.shape != shape:
            raise VideoError(
                f"{path}: frame is {frame.shape[1]}x{frame.shape[0]} px, the frames before it are "
                f"{shape[1]}x{shape[0]}; all frames of a video have one size"
            )
        else:
            shape = frame.shape
        yield place, content, np.asarray(frame, np.uint8) if frame is not None else None


def _broken(paths: list[Path], count: int) -> str | None:
    if not paths:
        return None
    names = ", ".join(path.name for path in paths[:_MISSING_SHOWN])
    more = ", …" if len(paths) > _MISSING_SHOWN else ""
    return f"damaged: {len(paths)} of {count} frames cannot be decoded: {names}{more}"


def _missing_numbers(files: list[tuple[int, Path]]) -> str | None:
    """List the numbers between the first and the last that have no frame."""
    gaps = []
    for (before, _), (after, _) in pairwise(files):
        if after - before > 1:
            gaps.append(f"{before + 1}" if after - before == 2 else f"{before + 1}-{after - 1}")
    if not gaps:
        return None
    shown = ", ".join(gaps[:_MISSING_SHOWN]) + (", …" if len(gaps) > _MISSING_SHOWN else "")
    return f"frames are missing from the numbering: {shown}"

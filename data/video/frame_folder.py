"""Folders of numbered frames read as videos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data.errors import VideoError
from data.video.file import Frame
from data.video.frame_names import frame_files
from data.video.info import DEFAULT_FPS, VideoInfo

_SHOWN = 5


def scan_folder(folder: Path, strict: bool) -> VideoInfo:
    """Decode all frames of a folder once; see `data.video.reading.scan`.

    A folder has no time stamps: 25 frames a second are assumed, and a warning says so. A picture
    that cannot be decoded is a damaged frame: it is left out, and the others keep their times.
    """
    files = frame_files(folder)
    digest, size = hashlib.sha256(), 0
    kept: list[int] = []
    last: Frame | None = None
    for place, (_, path) in enumerate(files):
        content = _content(path)
        size += len(content)
        _add_to_digest(digest, path, content)
        frame = _decode(path, content, last)
        if frame is not None:
            kept.append(place)
            last = frame
    if frame_files(folder) != files:
        raise VideoError(f"{folder}: changed while it was read; run again when it is complete")
    if last is None:
        raise VideoError(f"{files[0][1]}: frame cannot be decoded as an image, nor can any other")
    damage = _damage(files, kept)
    if damage and strict:
        raise VideoError(f"{folder}: {'; '.join(damage)}")
    assumed = f"a folder of frames has no time stamps; {DEFAULT_FPS:g} frames a second assumed"
    return VideoInfo(
        path=folder,
        size=size,
        digest=digest.hexdigest(),
        frames=len(kept),
        width=last.shape[1],
        height=last.shape[0],
        fps=DEFAULT_FPS,
        times=np.array(kept, np.float64) / DEFAULT_FPS,
        warnings=(assumed, *damage),
    )


def read_folder(
    folder: Path, indices: NDArray[np.int64], times: Sequence[float] | NDArray[np.float64] | None
) -> Iterator[tuple[int, Frame]]:
    """Yield the wanted frames of a folder; see `data.video.reading.read_frames`."""
    paths = [path for _, path in frame_files(folder)]
    places = indices
    if times is not None:
        places = np.rint(np.asarray(times) * DEFAULT_FPS).astype(np.int64)
    elif len(indices):
        good = (path for path in paths if _decode(path, _content(path), None) is not None)
        paths = list(islice(good, int(indices[-1]) + 1))
    frame: Frame | None = None
    for index, place in zip(indices.tolist(), places.tolist(), strict=True):
        if place >= len(paths):
            raise VideoError(f"{folder}: frame {index} is wanted, found only {len(paths)} frames")
        frame = _decode(paths[place], _content(paths[place]), frame)
        if frame is None:
            raise VideoError(f"{paths[place]}: frame cannot be decoded as an image")
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


def _decode(path: Path, content: bytes, before: Frame | None) -> Frame | None:
    """Decode a picture to (H, W, 3) BGR, of the size of the one before; None for damage."""
    data = np.frombuffer(content, dtype=np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if decoded is None:
        return None
    if before is not None and decoded.shape != before.shape:
        raise VideoError(
            f"{path}: frame is {decoded.shape[1]}x{decoded.shape[0]} px, the frames before it are "
            f"{before.shape[1]}x{before.shape[0]}; all frames of a video have one size"
        )
    return np.asarray(decoded, np.uint8)


def _damage(files: list[tuple[int, Path]], kept: list[int]) -> list[str]:
    """List the pictures that are broken, and the numbers without a picture, in a line each."""
    broken = [files[place][1].name for place in sorted({*range(len(files))} - {*kept})]
    gaps = [
        f"{before + 1}" if after - before == 2 else f"{before + 1}-{after - 1}"
        for (before, _), (after, _) in pairwise(files)
        if after - before > 1
    ]
    few = f"damaged: {len(broken)} of {len(files)} frames cannot be decoded"
    found = {few: broken, "frames are missing from the numbering": gaps}
    return [
        f"{what}: {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
        for what, names in found.items()
        if names
    ]

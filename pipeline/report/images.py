"""Middle frames of videos as small JPEG files, written into the page itself."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.runner.jobs import JobOptions

_QUALITY = 72
# Twice the size at which they are shown, for screens with two pixels a point.
SMALL, LARGE = 192, 480


@dataclass(frozen=True)
class Picture:
    """A JPEG or PNG inside the page.

    Attributes
    ----------
    uri : str
        ``data:`` address.
    width, height : int
        Pixels.
    size : int
        Bytes before they were written as text.
    """

    uri: str
    width: int
    height: int
    size: int


@dataclass(frozen=True)
class Wanted:
    """A video whose middle frame is wanted."""

    key: str
    path: Path
    frames: int | None
    large: bool


@dataclass(frozen=True)
class Thumbnails:
    """Pictures of videos.

    Attributes
    ----------
    small, large : dict of str to Picture
    failed : dict of str to str
        Why there is no picture of a video.
    """

    small: dict[str, Picture]
    large: dict[str, Picture]
    failed: dict[str, str]


def thumbnails(
    videos: Mapping[str, Path],
    frames: Mapping[str, int],
    small: Collection[str],
    large: Collection[str],
    jobs: JobOptions,
) -> Thumbnails:
    """Take the middle frame of videos; one that cannot be read leaves the others as they are.

    Parameters
    ----------
    videos : mapping of str to Path
        The videos that are there.
    frames : mapping of str to int
        Decoded frames of videos, where they are known.
    small, large : collection of str
        Videos whose picture is wanted in each size.
    jobs : JobOptions
    """
    from pipeline.runner.jobs import run_jobs

    wanted = [
        Wanted(key, path, frames.get(key), key in large)
        for key, path in videos.items()
        if key in small or key in large
    ]
    if not wanted:
        return Thumbnails({}, {}, {})
    outcome = run_jobs(_middle_frame, wanted, jobs, desc="pictures", name=lambda each: each.key)
    found: dict[str, Sequence[Picture]] = {item.key: made for item, made in outcome.results}
    return Thumbnails(
        {key: made[0] for key, made in found.items()},
        {key: made[1] for key, made in found.items() if len(made) > 1},
        {item.key: message for item, message in outcome.failures},
    )


def _middle_frame(wanted: Wanted) -> list[Picture]:
    from data.video.reading import read_frames, scan

    count = wanted.frames if wanted.frames and wanted.frames > 0 else scan(wanted.path).frames
    frame = dict(read_frames(wanted.path, [count // 2]))[count // 2]
    return [jpeg(frame, side) for side in ((SMALL, LARGE) if wanted.large else (SMALL,))]


def jpeg(frame: np.ndarray, longest: int) -> Picture:
    """Return a frame as JPEG, no side longer than `longest` px.

    Parameters
    ----------
    frame : ndarray (H, W, 3) uint8, BGR
    """
    import cv2

    from data.errors import VideoError

    height, width = frame.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale < 1:
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise VideoError("OpenCV cannot encode a JPEG")
    return _picture(encoded.tobytes(), "jpeg", *size)


def _picture(content: bytes, kind: str, width: int, height: int) -> Picture:
    uri = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Picture(uri, width, height, len(content))

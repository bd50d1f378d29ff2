"""Small copies of videos that play in every browser; or links to the originals."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from data.errors import InputError
from data.sources import Source
from data.video.file import opened
from data.video.frame_names import is_frames
from data.video.info import DEFAULT_FPS
from data.video.reading import file_digest, read_frames, scan
from pipeline.pictures.film import plan_timeline, write_copy

#: Folder of the copies below the page's.
COPIES = "videos"
_HIGHEST_FPS = 1000.0
# Containers that browsers play, if they know the codec.
_PLAYED = {".mp4", ".m4v", ".mov", ".webm", ".ogv"}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One video as the page shows it.

    Attributes
    ----------
    src : str
        Address, relative to the page.
    fps : float
        Frames a second, for stepping.
    seconds : float
        Its length.
    """

    src: str
    fps: float
    seconds: float


def copy_video(source: Source, folder: Path, side: int) -> Shown:
    """Write the copy of a video, unless it exists already.

    A copy is named by the digest of its video, so that its name tells a judge nothing.

    Raises
    ------
    InputError
        The video cannot be read, or the copy cannot be written.
    """
    name = f"{file_digest(source.path)[:16]}-{side}.mp4"
    path = folder / COPIES / name
    if not path.is_file():
        timeline = plan_timeline(scan(source.path).times)
        read = read_frames(source.path, timeline.frames, timeline.seconds)
        frames = (frame for _, frame in read)
        write_copy(path, timeline, frames, side)
    return _shown(path, f"{COPIES}/{name}")


def link_video(source: Source, folder: Path) -> Shown:
    """Return the address of an original.

    Raises
    ------
    InputError
        It is a folder of frames, or cannot be opened.
    """
    if is_frames(source.path):
        raise InputError(
            f"{source.path}: a folder of frames, which no browser plays; leave --no-copies out"
        )
    try:
        address = quote(Path(os.path.relpath(source.path, folder.absolute())).as_posix())
    except ValueError:  # On another drive.
        address = source.path.absolute().as_uri()
    return _shown(source.path, address)


def is_played(source: Source) -> bool:
    """Whether a browser may play the original."""
    return source.path.suffix.lower() in _PLAYED


def _shown(path: Path, address: str) -> Shown:
    with opened(path) as video:
        # A stream without a rate states its clock's instead.
        frames, fps = video.claimed, video.fps if video.fps <= _HIGHEST_FPS else DEFAULT_FPS
    return Shown(src=address, fps=fps, seconds=max(0, frames) / fps)

"""Pictures, written into the page itself: middle frames, attention sheets, learning curves."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError
from pipeline.shell.console import log

if TYPE_CHECKING:
    from pipeline.report.ranking import RankedVideo
    from pipeline.report.sources import Sources
    from pipeline.runner.jobs import JobOptions

_QUALITY = 72
# Longest sides, px. Frames have twice the size at which they are shown, for screens with two
# pixels a point; an attention sheet of 25 segments has about 2700 px.
_SMALL, _LARGE, _SHEET = 192, 480, 3000


@dataclass(frozen=True)
class Picture:
    """A JPEG or PNG inside the page: its ``data:`` address, width and height in px."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Thumbnails:
    """Pictures of videos by name, and why a video has none."""

    small: dict[str, Picture]
    large: dict[str, Picture]
    failed: dict[str, str]


@dataclass(frozen=True)
class Sheet:
    """A contact sheet of a video."""

    role: str
    video: RankedVideo
    picture: Picture


@dataclass(frozen=True)
class Sheets:
    """Contact sheets, and why some are missing."""

    shown: tuple[Sheet, ...]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Request:
    """A video whose middle frame is shown; `frames` is 0 where their number is not known."""

    key: str
    path: Path
    frames: int
    sides: tuple[int, ...]


def thumbnails(
    sources: Sources, small: Collection[str], large: Collection[str], jobs: JobOptions
) -> Thumbnails:
    """Read the middle frames of videos; one that cannot be read does not stop the others.

    Parameters
    ----------
    sources : Sources
    small, large : collection of str
        Videos whose picture is shown in each size.
    jobs : JobOptions
    """
    from pipeline.runner.jobs import run_jobs

    requests = []
    for key, path in sources.videos.items():
        if key in small or key in large:
            header = sources.headers.get(key)
            frames = header.decoded_frames if header and not header.imported else 0
            sides = (_SMALL, _LARGE) if key in large else (_SMALL,)
            requests.append(_Request(key=key, path=path, frames=frames, sides=sides))
    if not requests:
        return Thumbnails({}, {}, {})
    outcome = run_jobs(_middle_frame, requests, jobs, desc="pictures", name=lambda each: each.key)
    pictures = {request.key: images for request, images in outcome.results}
    return Thumbnails(
        {key: each[0] for key, each in pictures.items()},
        {key: each[1] for key, each in pictures.items() if len(each) > 1},
        {each.key: message for each, message in outcome.failures},
    )


def _middle_frame(request: _Request) -> list[Picture]:
    from data.video.info import DEFAULT_FPS
    from data.video.reading import read_frames, scan

    middle = (request.frames if request.frames > 0 else scan(request.path).frames) // 2
    # By its time, a folder's picture is found without decoding those before.
    ((_, frame),) = read_frames(request.path, [middle], [middle / DEFAULT_FPS])
    return [jpeg(frame, side) for side in request.sides]


def attention_sheets(sources: Sources, rows: Sequence[RankedVideo], count: int) -> Sheets:
    """Draw attention sheets of the best and the worst videos whose files exist.

    Parameters
    ----------
    sources : Sources
    rows : sequence of RankedVideo
        All videos, best first.
    count : int
        Of the best, and of the worst.

    Returns
    -------
    Sheets
        Best first, then the worst from the bottom up; each video once.
    """
    if not count:
        return Sheets(())
    usable = [row for row in rows if row.key in sources.videos and row.key in sources.headers]
    if not usable or sources.features is None:
        return Sheets((), "The run's feature caches or its videos were not found.")
    best, worst = usable[:count], list(reversed(usable[count:]))[:count]
    sheets, failures = [], []
    for role, row in [("best", row) for row in best] + [("worst", row) for row in worst]:
        try:
            sheets.append(Sheet(role, row, _sheet(sources, sources.features, row.key)))
        except InputError as error:
            log.warning("%s: no attention sheet: %s", row.key, error)
            failures.append(str(error))
    return Sheets(tuple(sheets), " ".join(f"Not drawn: {why}." for why in dict.fromkeys(failures)))


def _sheet(sources: Sources, features: Path, key: str) -> Picture:
    from pipeline.explain.look import look_at_cached
    from pipeline.pictures.sheet import draw_sheet, pixels

    look = look_at_cached(sources.folder, key, sources.videos[key], features, sources.flow)
    return jpeg(pixels(draw_sheet(look))[:, :, ::-1], _SHEET)


def learning_curves(run_folder: Path) -> Picture | None:
    """Return the run's own picture of its learning curves; None where it cannot be read."""
    import cv2

    path = run_folder / "learning_curves.png"
    content = path.read_bytes() if path.is_file() else b""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    return None if pixels is None else _picture(content, "png", pixels)


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
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise VideoError("OpenCV cannot encode a JPEG")
    return _picture(encoded.tobytes(), "jpeg", frame)


def _picture(content: bytes, kind: str, pixels: np.ndarray) -> Picture:
    uri = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Picture(uri, pixels.shape[1], pixels.shape[0])

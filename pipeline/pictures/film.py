"""Films at a video's own speed: every frame with attention over it, or a small copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.video.film import encode
from pipeline.pictures.attention import Look, blend, clock, colour_bar, colour_limit, strongest
from pipeline.pictures.options import FilmOptions, OverlayOptions
from pipeline.runner.files import check_room, published

_HIGHEST_FPS = 60.0
_STAMP_ROUNDING = 1.5e-3
_DARK, _LIGHT, _LINE = (24, 24, 24), (235, 235, 235), (86, 180, 233)
# Constant quality: 18 looks like the source, each 6 more halve the file (x264's own scale).
_QUALITY = {"crf": "20", "preset": "fast"}
# Copies are small, and a key frame each half second lets a page step back at once.
_COPY_QUALITY = {"crf": "26", "preset": "fast", "g": "15"}


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Which source frames are shown, and for how many pictures each.

    Attributes
    ----------
    fps : float
        Pictures a second.
    frames : ndarray (K,) int64
        Source frames, each once, increasing.
    repeats : ndarray (K,) int64
        Pictures that show it.
    seconds : ndarray (K,) float64
        Its time stamp.
    """

    fps: float
    frames: np.ndarray
    repeats: np.ndarray
    seconds: np.ndarray


def plan_timeline(times: np.ndarray) -> Timeline:
    """Fit frames with time stamps to a constant rate, so that speed stays the video's own.

    Each frame is shown from the picture next to its time stamp to that of the next frame; of
    several frames in the time of one picture, the last is shown. The rate is the usual one of
    the frames, at most 60 a second.

    Parameters
    ----------
    times : ndarray (F,) float64
        Seconds, never going back.
    """
    steps = np.diff(times)
    usual = _usual(steps[steps > 0])
    fps = min(_HIGHEST_FPS, 1 / usual)
    starts = np.rint((times - times[0]) * fps).astype(np.int64)
    whole = round((float(times[-1] - times[0]) + usual) * fps)
    ends = np.append(starts[1:], max(1, int(starts[-1]), whole))
    frames = np.flatnonzero(ends > starts)
    return Timeline(fps=fps, frames=frames, repeats=(ends - starts)[frames], seconds=times[frames])


def _usual(steps: np.ndarray) -> float:
    """Return the usual distance of frames in seconds; stamps may be whole milliseconds."""
    if not len(steps):
        return 0.04
    middle = float(np.median(steps))
    return float(steps[np.abs(steps - middle) <= _STAMP_ROUNDING].mean())


def attention_at(look: Look, second: float, between: str) -> np.ndarray:
    """Return the attention map (H, W) of a moment."""
    times = look.times
    after = int(np.searchsorted(times, second, side="right"))
    if after == 0:
        return look.attention[0]
    if after == len(times):
        return look.attention[-1]
    before = after - 1
    share = (second - times[before]) / (times[after] - times[before])
    if between == "hold":
        share = round(share)
    return (1 - share) * look.attention[before] + share * look.attention[after]


def write_film(
    path: Path,
    look: Look,
    timeline: Timeline,
    frames: Iterable[np.ndarray],
    *,
    options: FilmOptions,
    overlay: OverlayOptions,
) -> None:
    """Write the film of a video, whole or not at all.

    Parameters
    ----------
    path : Path
        The mp4 file.
    look : Look
    timeline : Timeline
        From `plan_timeline`.
    frames : iterable of ndarray (height, width, 3) uint8, BGR
        Those of the timeline; taken one at a time.
    options : FilmOptions
    overlay : OverlayOptions

    Raises
    ------
    InputError
        The file cannot be written, or the disk is full.
    """
    check_room(path)
    pictures = _pictures(look, timeline, frames, options, overlay)
    with published(path) as temporary:
        _encode(temporary, pictures, timeline, _QUALITY)


def write_copy(path: Path, timeline: Timeline, frames: Iterable[np.ndarray], side: int) -> None:
    """Write a small copy of a video, without sound, whole or not at all.

    Parameters
    ----------
    path : Path
        The mp4 file.
    timeline : Timeline
        From `plan_timeline`.
    frames : iterable of ndarray (height, width, 3) uint8, BGR
        Those of the timeline; taken one at a time.
    side : int
        Longer side of the copy, px; a smaller video keeps its size.

    Raises
    ------
    InputError
        The file cannot be written, or the disk is full.
    """
    check_room(path)
    with published(path) as temporary:
        _encode(temporary, (_at_most(frame, side) for frame in frames), timeline, _COPY_QUALITY)


def _at_most(frame: np.ndarray, side: int) -> np.ndarray:
    """Return a frame with even sides, shrunk where its longer side exceeds `side` px."""
    height, width = frame.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = _even(width * scale), _even(height * scale)
    return (
        frame if size == (width, height) else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    )


def _pictures(
    look: Look,
    timeline: Timeline,
    frames: Iterable[np.ndarray],
    options: FilmOptions,
    overlay: OverlayOptions,
) -> Iterator[np.ndarray]:
    """Yield the picture of each source frame: attention over it, the strip below, BGR."""
    limit = colour_limit(look.attention, overlay)
    strip: _Strip | None = None
    for frame, second in zip(frames, timeline.seconds, strict=True):
        height, width = frame.shape[:2]
        scale = options.video_side / max(height, width)
        size = _even(width * scale), _even(height * scale)
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        large = cv2.resize(frame, size, interpolation=kind)
        attention = attention_at(look, float(second), options.between)
        strip = strip or _Strip(look, timeline, overlay, size[0])
        overlaid = blend(large, attention, look.geometry, overlay, limit)
        yield np.vstack([overlaid, strip.at(float(second))])


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


def _encode(
    path: Path,
    pictures: Iterable[np.ndarray],
    timeline: Timeline,
    quality: Mapping[str, str],
) -> None:
    """Encode pictures (BGR, even sides), each as often as the timeline says."""
    shown = zip(pictures, timeline.repeats, strict=True)
    repeated = (picture for picture, repeats in shown for _ in range(repeats))
    encode(path, repeated, timeline.fps, quality)


@lru_cache(maxsize=4)
def _font(size: int) -> Any:
    """Return DejaVu Sans, which matplotlib ships, at a size in px."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)


class _Strip:
    """The strip below the picture: running score over time, score now, and the legend."""

    def __init__(self, look: Look, timeline: Timeline, overlay: OverlayOptions, width: int) -> None:
        self.look = look
        self.text = max(10, min(20, width // 28))
        self.height = _even(self.text * 5.2)
        self.first, self.last = float(timeline.seconds[0]), float(timeline.seconds[-1])
        self.left, self.right = self.text // 2, width - self.text // 2
        self.top, self.bottom = round(self.text * 1.7), round(self.text * 3.2)
        self.base = Image.new("RGB", (width, self.height), _DARK)
        draw = ImageDraw.Draw(self.base)
        self._curve(draw)
        self._legend(draw, overlay)

    def _x(self, second: float) -> float:
        share = (second - self.first) / max(self.last - self.first, 1e-9)
        return self.left + share * (self.right - self.left)

    def _curve(self, draw: Any) -> None:
        """Draw the running score as steps: it changes at each snippet."""
        values = self.look.running
        low, high = float(values.min()), float(values.max())
        y = self.bottom - (values - low) / max(high - low, 1e-9) * (self.bottom - self.top)
        x = [self._x(float(second)) for second in self.look.times]
        ends = [*x[1:], self.right]
        steps = zip(x, ends, y, strict=True)
        draw.line([(at, level) for *sides, level in steps for at in sides], fill=_LINE, width=2)

    def _legend(self, draw: Any, overlay: OverlayOptions) -> None:
        size = self.text
        y = self.height - round(size * 1.6)
        draw.text((self.left, y), "attention: even", _LIGHT, _font(size))
        begin = self.left + round(_font(size).getlength("attention: even")) + size // 2
        length = max(20, min(160, self.base.width // 5))
        self.base.paste(Image.fromarray(colour_bar(overlay, length, size)), (begin, y + size // 8))
        limit = strongest(colour_limit(self.look.attention, overlay))
        draw.text((begin + length + size // 2, y), limit, _LIGHT, _font(size))

    def at(self, second: float) -> np.ndarray:
        """Return the strip at a moment, BGR."""
        picture = self.base.copy()
        draw = ImageDraw.Draw(picture)
        steps = int(np.searchsorted(self.look.times, second, side="right"))
        score = f"{self.look.running[steps - 1]:+.3f}" if steps else "–"
        top, font = self.text // 4, _font(self.text)
        draw.text((self.left, top), f"score so far {score}", _LIGHT, font)
        draw.text((self.right, top), clock(second - self.first), _LIGHT, font, anchor="ra")
        x = self._x(second)
        draw.line([(x, self.top - 2), (x, self.bottom + 2)], fill=_LIGHT, width=2)
        return np.asarray(picture)[:, :, ::-1]

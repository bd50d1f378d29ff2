"""The moving overlay: every frame of a video with attention over it, at the video's own speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from data.video.reading import read_frames, scan
from pipeline.explain.look import Look
from pipeline.explain.options import ExplainOptions
from pipeline.pictures.attention import OverlayOptions, blend, colour_limit
from pipeline.pictures.legend import colour_bar, strongest
from pipeline.pictures.text import clock, font
from pipeline.pictures.writing import Shown, write_pictures

# A gif is held in memory until it is written, and no browser plays one faster than 50 a second.
_GIF_PICTURES, _GIF_FPS, _GIF_SIDE = 600, 12.5, 400
_HIGHEST_FPS = 60.0
_STAMP_ROUNDING = 1.5e-3
_DARK, _LIGHT, _LINE = (24, 24, 24), (235, 235, 235), (86, 180, 233)


@dataclass(frozen=True)
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


def plan_timeline(times: np.ndarray, highest_fps: float = _HIGHEST_FPS) -> Timeline:
    """Fit frames with time stamps to a constant rate, so that speed stays the video's own.

    Each frame is shown from the picture next to its time stamp to that of the next frame; where
    frames come faster than the pictures the last of them is shown.

    Parameters
    ----------
    times : ndarray (F,) float64
        Seconds, never going back.
    highest_fps : float
        The rate is the frames' usual one, and at most this.
    """
    steps = np.diff(times)
    usual = _usual(steps[steps > 0])
    fps = min(highest_fps, 1 / usual)
    starts = np.rint((times - times[0]) * fps).astype(np.int64)
    whole = round((float(times[-1] - times[0]) + usual) * fps)
    ends = np.append(starts[1:], max(1, int(starts[-1]), whole))
    shown = np.flatnonzero(ends > starts)
    return Timeline(fps, shown, (ends - starts)[shown], times[shown])


def gif_fps(times: np.ndarray) -> float:
    """Return the pictures a second of a gif: few enough, and each a whole number of hundredths."""
    steps = np.diff(times)
    lasting = max(float(times[-1] - times[0]), 1.0)
    highest = min(_GIF_FPS, _GIF_PICTURES / lasting, 1 / _usual(steps[steps > 0]))
    return 100 / math.ceil(100 / highest - 1e-6)


def _usual(steps: np.ndarray) -> float:
    """Return the usual distance of frames in seconds, of stamps in whole milliseconds too."""
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


def write_overlay(
    look: Look,
    path: Path,
    options: ExplainOptions | None = None,
    overlay: OverlayOptions | None = None,
    on_frame: Callable[[int], Any] | None = None,
) -> None:
    """Write the moving overlay; its format is that of the options.

    The video is read once, from its start to its end; only a gif's pictures are kept in memory.

    Raises
    ------
    VideoError
        A frame cannot be read.
    InputError
        The file cannot be written.
    """
    options, overlay = options or ExplainOptions(), overlay or OverlayOptions()
    times = look.frame_times if look.frame_times is not None else scan(look.path).times
    is_gif = options.format == "gif"
    timeline = plan_timeline(times, gif_fps(times) if is_gif else _HIGHEST_FPS)
    side = min(options.video_side, _GIF_SIDE) if is_gif else options.video_side
    pictures = _pictures(look, timeline, side, options, overlay, on_frame)
    write_pictures(path, pictures, timeline.fps, options.format, overlay)


def _pictures(
    look: Look,
    timeline: Timeline,
    side: int,
    options: ExplainOptions,
    overlay: OverlayOptions,
    on_frame: Callable[[int], Any] | None,
) -> Iterator[Shown]:
    limit = colour_limit(look.attention, overlay)
    strip: _Strip | None = None
    frames = read_frames(look.path, timeline.frames)
    for (_, frame), second, repeats in zip(frames, timeline.seconds, timeline.repeats, strict=True):
        height, width = frame.shape[:2]
        scale = side / max(height, width)
        size = _even(width * scale), _even(height * scale)
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        large = cv2.resize(frame, size, interpolation=kind)
        attention = attention_at(look, float(second), options.between)
        drawn = blend(large, attention, look.geometry, overlay, limit)
        strip = strip or _Strip(look, timeline, overlay, limit, size[0])
        yield np.vstack([drawn, strip.at(float(second))]), int(repeats)
        if on_frame is not None:
            on_frame(1)


def _even(length: float) -> int:
    return max(2, 2 * round(length / 2))


class _Strip:
    """What stands below the picture: running score over time, score now, and the legend."""

    def __init__(
        self,
        look: Look,
        timeline: Timeline,
        overlay: OverlayOptions,
        limit: float | None,
        width: int,
    ) -> None:
        self.look = look
        self.text = max(10, min(20, width // 28))
        self.height = _even(self.text * 5.2)
        self.first, self.last = float(timeline.seconds[0]), float(timeline.seconds[-1])
        self.left, self.right = self.text // 2, width - self.text // 2
        self.top, self.bottom = round(self.text * 1.7), round(self.text * 3.2)
        self.base = Image.new("RGB", (width, self.height), _DARK)
        draw = ImageDraw.Draw(self.base)
        self._curve(draw)
        self._legend(draw, overlay, limit)

    def _x(self, second: float) -> float:
        share = (second - self.first) / max(self.last - self.first, 1e-9)
        return self.left + share * (self.right - self.left)

    def _curve(self, draw: Any) -> None:
        """Draw the running score as steps: it changes where a snippet is seen."""
        values = self.look.running
        low, high = float(values.min()), float(values.max())
        y = self.bottom - (values - low) / max(high - low, 1e-9) * (self.bottom - self.top)
        x = [self._x(float(second)) for second in self.look.times]
        points = []
        for number, (here, height) in enumerate(zip(x, y, strict=True)):
            after = x[number + 1] if number + 1 < len(x) else self.right
            points += [(here, height), (after, height)]
        draw.line(points, fill=_LINE, width=2)

    def _legend(self, draw: Any, overlay: OverlayOptions, limit: float | None) -> None:
        size = self.text
        y = self.height - round(size * 1.6)
        told = ["attention: even", strongest(limit)]
        draw.text((self.left, y), told[0], _LIGHT, font(size))
        begin = self.left + round(font(size).getlength(told[0])) + size // 2
        length = max(20, min(160, self.base.width // 5))
        bar = Image.fromarray(colour_bar(overlay, length, size))
        self.base.paste(bar, (begin, y + size // 8))
        draw.text((begin + length + size // 2, y), told[1], _LIGHT, font(size))

    def at(self, second: float) -> np.ndarray:
        """Return the strip at a moment, BGR."""
        picture = self.base.copy()
        draw = ImageDraw.Draw(picture)
        seen = int(np.searchsorted(self.look.times, second, side="right"))
        now = f"{self.look.running[seen - 1]:+.3f}" if seen else "–"
        draw.text((self.left, self.text // 4), f"score so far {now}", _LIGHT, font(self.text))
        draw.text(
            (self.right, self.text // 4),
            clock(second - self.first),
            _LIGHT,
            font(self.text),
            anchor="ra",
        )
        x = self._x(second)
        draw.line([(x, self.top - 2), (x, self.bottom + 2)], fill=_LIGHT, width=2)
        return np.asarray(picture)[:, :, ::-1]

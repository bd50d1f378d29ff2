"""A contact sheet: each segment with attention, frame and flow, below a chart of the score."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from pipeline.pictures.attention import Look, blend, clock, colour_bar, colour_limit, strongest
from pipeline.pictures.flow import colours, draw_wheel, full_speed, png
from pipeline.pictures.options import OverlayOptions, SheetOptions

# Of Okabe and Ito's palette, told apart with any of the common colour-vision deficiencies; line
# style and mark differ as well.
_SCORE, _ENTROPY = "#0072B2", "#D55E00"
_DPI = 100
# All in px: largest sides of an overlay, gaps between tiles, heights of the other parts.
_WIDE, _HIGH, _LEAST_WIDE, _GAP, _CAPTION = 320, 360, 310, 16, 56
_CHART, _LEGEND, _BAR, _WHEEL = 240, 160, 260, 128
_NAME, _TEXT, _SMALL, _LINE = 30, 22, 18, 1.4  # sizes of text; lines in sizes
_BACKGROUND = 225  # grey where there is no flow


def draw_sheet(
    look: Look, options: SheetOptions | None = None, overlay: OverlayOptions | None = None
) -> Figure:
    """Draw the contact sheet of a video.

    Returns
    -------
    Figure
        As many px wide as its columns of tiles need. Its subfigures are the title, the chart, the
        tiles and the legend.
    """
    options, overlay = options or SheetOptions(), overlay or OverlayOptions()
    tiles = draw_tiles(look, overlay)
    columns = options.columns_for(len(tiles))
    rows = -(-len(tiles) // columns)
    high, wide = tiles[0].shape[:2]
    wide = max(wide, _LEAST_WIDE)
    width = columns * (wide + _GAP) + _GAP
    headline = _wrapped(look.headline, _TEXT, width)
    notes = [line for note in _notes(look) for line in _wrapped(note, _SMALL, width)]
    stacked = look.flow is not None and width < 2 * _BAR + _WHEEL
    heights = [
        _NAME + _GAP + round(_LINE * _TEXT * len(headline)) + _GAP,
        _CHART,
        rows * (_CAPTION + high + _GAP),
        _LEGEND * (1 + stacked),
        round(_LINE * _SMALL * len(notes)) + _GAP,
    ]
    figure = Figure(figsize=(width / _DPI, sum(heights) / _DPI), dpi=_DPI)
    places = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights, hspace=0)
    parts = list(places.flat)
    _write(parts[0], _fitted(look.video, width), _NAME, _GAP, weight="bold")
    _write(parts[0], "\n".join(headline), _TEXT, _GAP + _NAME + _GAP // 2)
    _draw_chart(parts[1], look)
    _draw_tiles(parts[2], look, tiles, columns)
    _draw_legend(parts[3], look, overlay, stacked)
    _write(parts[4], "\n".join(notes), _SMALL, 0)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as (height, width, 3) uint8 RGB."""
    return np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"))


def draw_tiles(look: Look, overlay: OverlayOptions) -> list[np.ndarray]:
    """Draw one tile a segment, RGB: attention, next to it or below it the frame and its flow."""
    limit = colour_limit(look.attention, overlay)
    height, width = look.frames[0].shape[:2]
    scale = min(_WIDE / width, _HIGH / height)
    wide, high = (max(8, round(side * scale)) for side in (width, height))
    small = (wide // 2 - 2, high // 2 - 2)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    full = full_speed(look.flow) if look.flow is not None else 1.0
    tiles = []
    for step, frame in enumerate(look.frames):
        large = cv2.resize(frame, (wide, high), interpolation=kind)
        overlaid = blend(large, look.attention[step], look.geometry, overlay, limit)
        plain = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)[:, :, ::-1]
        motion = np.full_like(plain, _BACKGROUND)
        if look.flow is not None:
            field = colours(look.flow[step], full)
            motion = cv2.resize(field, small, interpolation=cv2.INTER_AREA)
        motion = cv2.rectangle(motion, (0, 0), (small[0] - 1, small[1] - 1), (190, 190, 190))
        upright = height > width
        pair = _joined(plain, motion, 0 if upright else 1, high if upright else wide)
        tiles.append(_joined(overlaid[:, :, ::-1], pair, 1 if upright else 0))
    return tiles


def _joined(
    first: np.ndarray, second: np.ndarray, axis: int, length: int | None = None
) -> np.ndarray:
    """Put two pictures below each other (axis 0) or side by side (axis 1), 4 px apart at least."""
    gap = list(first.shape)
    gap[axis] = 4 if length is None else length - first.shape[axis] - second.shape[axis]
    return np.concatenate([first, np.full(gap, 255, np.uint8), second], axis=axis)


def _write(part: SubFigure, text: str, size: int, top: int, left: int = _GAP, **more: Any) -> None:
    """Write text of a size, at a distance from the top and the left of a part, all in px."""
    box = part.bbox
    part.text(
        left / box.width,
        1 - top / box.height,
        text,
        fontsize=size * 72 / _DPI,
        va="top",
        linespacing=1.2,
        parse_math=False,
        **more,
    )


def _axes(part: SubFigure, left: int, top: int, width: float, height: float) -> Any:
    """Add axes at a place in px."""
    box = part.bbox
    below = box.height - top - height
    return part.add_axes(
        (left / box.width, below / box.height, width / box.width, height / box.height)
    )


def _draw_chart(part: SubFigure, look: Look) -> None:
    """Draw running score and attention entropy over time."""
    size = _SMALL * 72 / _DPI
    left = _axes(part, 6 * _SMALL, _GAP, part.bbox.width - 11 * _SMALL, _CHART - 5 * _SMALL)
    right = left.twinx()
    style: dict[str, Any] = {"linewidth": 2.0, "markersize": 6.0, "clip_on": False}
    left.plot(look.times, look.running, "-o", color=_SCORE, **style)
    left.axhline(look.score, color=_SCORE, linewidth=0.8, alpha=0.5)
    right.plot(look.times, 100 * look.entropy, "--s", color=_ENTROPY, **style)
    right.set_ylim(min(90.0, 100 * float(look.entropy.min()) - 2), 101)
    left.set_xlabel("seconds", fontsize=size)
    left.locator_params(axis="y", nbins=5)
    right.locator_params(axis="y", nbins=5)
    for axes, name, colour in ((left, "running score", _SCORE), (right, "entropy, %", _ENTROPY)):
        axes.set_ylabel(name, color=colour, fontsize=size)
        axes.tick_params(labelsize=0.9 * size)
        axes.tick_params(axis="y", colors=colour)
        axes.spines["top"].set_visible(False)


def _draw_tiles(part: SubFigure, look: Look, tiles: list[np.ndarray], columns: int) -> None:
    """Show the tiles at their own size, each below its time, score and entropy."""
    high, wide = tiles[0].shape[:2]
    places = part.subplots(-(-len(tiles) // columns), columns, squeeze=False)
    part.subplots_adjust(
        left=_GAP / part.bbox.width,
        right=1 - _GAP / part.bbox.width,
        top=1 - _CAPTION / part.bbox.height,
        bottom=_GAP / part.bbox.height,
        wspace=_GAP / max(wide, _LEAST_WIDE),
        hspace=(_CAPTION + _GAP) / high,
    )
    for axes in places.flat:
        axes.set_axis_off()
    for step, (axes, tile) in enumerate(zip(places.flat, tiles, strict=False)):
        axes.imshow(tile, interpolation="nearest")
        axes.set_anchor("NW")
        axes.set_title(
            f"{step + 1} of {len(tiles)} · {clock(look.times[step])}\n"
            f"score {look.running[step]:+.3f} · entropy {100 * look.entropy[step]:.0f} %",
            fontsize=_SMALL * 72 / _DPI,
            loc="left",
            pad=5,
        )


def _draw_legend(part: SubFigure, look: Look, overlay: OverlayOptions, stacked: bool) -> None:
    """Draw the colours of attention, and the wheel of flow next to them or below."""
    bar = min(_BAR, round(part.bbox.width) - 2 * _GAP)
    _write(part, "attention", _SMALL, _GAP, weight="bold")
    axes = _axes(part, _GAP, 3 * _GAP, bar, 28)
    axes.imshow(colour_bar(overlay, bar, 28), aspect="auto")
    axes.set_axis_off()
    limit = strongest(colour_limit(look.attention, overlay))
    _write(part, "even or less", _SMALL, 5 * _GAP)
    _write(part, limit, _SMALL, 5 * _GAP, _GAP + bar, ha="right")
    if look.flow is None:
        return
    left, top = (_GAP, _LEGEND) if stacked else (bar + 4 * _GAP, _GAP)
    draw_wheel(_axes(part, left, top, _WHEEL, _WHEEL))
    height, width = look.flow.shape[2:]
    scale = f"at the rim\n≥ {full_speed(look.flow):.1f} px/frame\nat {width}×{height} px"
    _write(part, "flow", _SMALL, top, left + _WHEEL + _GAP, weight="bold")
    _write(part, scale, _SMALL, top + 2 * _GAP, left + _WHEEL + _GAP)


def _fitted(text: str, width: int) -> str:
    """Return a name that fits into a line, its middle left out where it is too long."""
    text = "".join(letter if letter.isprintable() else "�" for letter in text)
    most = _letters(1.2 * _NAME, width)  # bold letters are wider
    end = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def _letters(size: float, width: int) -> int:
    """Return how many letters fit into a line; those of DejaVu Sans are 0.57 em on average."""
    return int((width - 2 * _GAP) / (0.57 * size))


def _wrapped(text: str, size: int, width: int) -> list[str]:
    return textwrap.wrap(text, _letters(size, width))


def _notes(look: Look) -> list[str]:
    notes = [
        "Attention is shown against an even spread over the map, around the centres of the cells' "
        "receptive fields.",
        "Entropy: 100 % is spread evenly, 0 % is all on one cell.",
        "Score: after this segment.",
    ]
    if look.geometry and look.geometry.edge < 1:
        notes.append("Dark: beyond the map, which the ranker does not see.")
    if look.flow is None:
        notes.append("No flow: its cache was not given (--flow).")
    return notes

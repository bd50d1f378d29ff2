"""A contact sheet: what was seen at each segment, where the run looked, and what it made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.video.reading import read_frames
from pipeline.explain.look import Look
from pipeline.explain.options import ExplainOptions
from pipeline.pictures.attention import OverlayOptions, blend, colour_limit
from pipeline.pictures.chart import draw_chart
from pipeline.pictures.flow import colours
from pipeline.pictures.legend import draw_legend
from pipeline.pictures.text import clock, shortened, text_block, wrapped

# Largest width and height of a tile's overlay, px, and the gap between tiles.
_WIDE, _HIGH, _GAP = 320, 360, 16
_LEAST_TILE = 300
_CAPTION = 19


def draw_sheet(
    look: Look,
    options: ExplainOptions | None = None,
    overlay: OverlayOptions | None = None,
) -> np.ndarray:
    """Draw the contact sheet of a video.

    Parameters
    ----------
    look : Look
        From `pipeline.explain.look.look_at`.
    options, overlay : options
        How it is drawn.

    Returns
    -------
    ndarray (height, width, 3) uint8, RGB

    Raises
    ------
    VideoError
        A frame cannot be read.
    """
    options, overlay = options or ExplainOptions(), overlay or OverlayOptions()
    limit = colour_limit(look.attention, overlay)
    full = flow_full(look.flow)
    pictures = dict(read_frames(look.path, np.unique(look.frames)))
    tiles = [_tile(look, step, pictures, overlay, limit, full) for step in range(len(look.frames))]
    columns = options.columns_for(len(tiles))
    grid = _grid(tiles, columns)
    width = grid.shape[1]
    blocks = [
        *_title(look, width),
        draw_chart(look, width),
        grid,
        draw_legend(look, overlay, limit, full, width),
    ]
    return np.vstack(blocks)


def flow_full(flow: np.ndarray | None) -> float:
    """Return the speed that gets the full colour: that which one pixel in a hundred exceeds."""
    if flow is None:
        return 1.0
    return max(0.5, float(np.percentile(np.hypot(flow[:, 0], flow[:, 1]), 99)))


def headline(look: Look) -> str:
    """Return score and rank in words."""
    said = [f"score {look.score:+.3f}"]
    if look.place is not None:
        said.append(f"rank {look.place.rank} of {look.place.of}")
        said.append(f"better than {look.place.percentile:.0f} % of the training videos")
    return " · ".join([*said, *([look.note] if look.note else [])])


def _title(look: Look, width: int) -> list[np.ndarray]:
    inner = width - 2 * _GAP
    name = text_block([shortened(look.video, 32, inner, True)], 32, width, bold=True, margin=_GAP)
    said = text_block(wrapped(headline(look), 24, inner), 24, inner)
    return [name, _padded(said, said.shape[0] + 8, width, left=_GAP)]


def _tile(
    look: Look,
    step: int,
    pictures: Mapping[int, Any],
    overlay: OverlayOptions,
    limit: float | None,
    full: float,
) -> np.ndarray:
    """Return one segment: overlay, beside or below it frame and flow, and a caption."""
    import cv2

    frame = pictures[int(look.frames[step])]
    height, width = frame.shape[:2]
    scale = min(_WIDE / width, _HIGH / height)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    large = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    seen = blend(large, look.attention[step], look.geometry, overlay, limit)[:, :, ::-1]
    upright = height > width
    small = (size[0] // 2 - 2, size[1] // 2 - 2)
    plain = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)[:, :, ::-1]
    moved = np.full_like(plain, 225)
    if look.flow is not None:
        moved = cv2.resize(colours(look.flow[step], full), small, interpolation=cv2.INTER_AREA)
    for edge in (moved[:1], moved[-1:], moved[:, :1], moved[:, -1:]):
        edge[:] = 190  # Where nothing moves the field is as white as the sheet.
    pair = _joined([plain, moved], 0 if upright else 1, size[1] if upright else size[0])
    picture = _joined([seen, pair], 1 if upright else 0, None)
    place = max(_LEAST_TILE, picture.shape[1])
    caption = text_block(
        [
            f"{step + 1} of {len(look.frames)} · {clock(look.times[step])}",
            f"score {look.running[step]:+.3f} · entropy {100 * look.entropy[step]:.0f} %",
        ],
        _CAPTION,
        place,
    )
    return np.vstack([caption, _padded(picture, picture.shape[0], place)])


def _joined(parts: Sequence[np.ndarray], axis: int, length: int | None) -> np.ndarray:
    """Put two pictures side by side (axis 1) or below each other (axis 0), 4 px apart at least."""
    gap = 4 if length is None else length - sum(part.shape[axis] for part in parts)
    shape = list(parts[0].shape)
    shape[axis] = gap
    return np.concatenate([parts[0], np.full(shape, 255, np.uint8), parts[1]], axis=axis)


def _grid(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    height = max(tile.shape[0] for tile in tiles) + _GAP
    width = max(tile.shape[1] for tile in tiles) + _GAP
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * height, columns * width + _GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * height, number % columns * width + _GAP
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _padded(picture: np.ndarray, height: int, width: int, left: int = 0) -> np.ndarray:
    padded = np.full((height, width, 3), 255, np.uint8)
    padded[: picture.shape[0], left : left + picture.shape[1]] = picture
    return padded


def write_png(picture: np.ndarray, path: Path) -> None:
    """Write an RGB picture, whole or not at all."""
    import io

    from PIL import Image

    from pipeline.runner.files import write_bytes

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=False)
    write_bytes(path, buffer.getvalue())

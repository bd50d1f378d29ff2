"""What the colours of a contact sheet and of a moving overlay mean."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from pipeline.explain.look import Look
from pipeline.pictures.attention import OverlayOptions, shades
from pipeline.pictures.flow import wheel
from pipeline.pictures.text import INK, PAPER, font, text_block, wrapped

_SIZE, _MARGIN, _WHEEL, _BAR = 19, 16, 110, 300
_GREY = 150
_TOLD = 150  # width of the words beside the wheel, px


def colour_bar(overlay: OverlayOptions, width: int, height: int) -> np.ndarray:
    """Draw even attention (left) to the strongest (right) as over a grey frame, RGB."""
    colour, alpha = shades(np.linspace(0, 1, width), overlay)
    row = _GREY * (1 - alpha) + colour[:, ::-1] * alpha
    return np.repeat(np.rint(row).astype(np.uint8)[None], height, axis=0)


def strongest(limit: float | None) -> str:
    """Say what the strongest colour stands for."""
    return "the frame's most" if limit is None else f"{limit:.1f} × even"


def draw_legend(
    look: Look, overlay: OverlayOptions, limit: float | None, full: float, width: int
) -> np.ndarray:
    """Draw the legend of a contact sheet, RGB, `width` px wide."""
    left, above = _MARGIN + _BAR + 3 * _MARGIN, _MARGIN
    if left + _WHEEL + _TOLD > width:  # Below the bar on a sheet of one column.
        left, above = _MARGIN, _MARGIN + _WHEEL
    lower = above if look.flow is not None else _MARGIN
    panel = Image.new("RGB", (width, lower + _WHEEL + _MARGIN), PAPER)
    draw = ImageDraw.Draw(panel)
    draw.text((_MARGIN, _MARGIN), "attention", INK, font(_SIZE, True))
    top = _MARGIN + 30
    panel.paste(Image.fromarray(colour_bar(overlay, _BAR, 28)), (_MARGIN, top))
    draw.text((_MARGIN, top + 34), "even or less", INK, font(_SIZE))
    draw.text((_MARGIN + _BAR, top + 34), strongest(limit), INK, font(_SIZE), anchor="ra")
    if look.flow is not None:
        circle = Image.fromarray(wheel(_WHEEL), "RGBA")
        panel.paste(circle, (left, above), circle)
        high, wide = look.flow.shape[2:]
        told = ["flow", "at the rim", f"≥ {full:.1f} px/frame", f"at {wide}×{high} px"]
        for number, line in enumerate(told):
            place = (left + _WHEEL + 12, above + number * 27)
            draw.text(place, line, INK, font(_SIZE, number == 0))
    notes = [
        "Attention is shown against an even spread over the map, around the centres of the cells' "
        "receptive fields.",
        "Entropy: 100 % is spread evenly, 0 % is all on one cell. Score: after this segment.",
    ]
    if look.geometry.edge < 1:
        notes.append("Dark: beyond the map, where nothing counts.")
    if look.flow is None:
        notes.append("No flow: its cache was not given (--flow).")
    inner = width - 2 * _MARGIN
    lines = [line for note in notes for line in wrapped(note, _SIZE, inner)]
    text = text_block(lines, _SIZE, inner)
    framed = np.full((text.shape[0] + _MARGIN, width, 3), 255, np.uint8)
    framed[: text.shape[0], _MARGIN : _MARGIN + inner] = text
    return np.vstack([np.asarray(panel), framed])

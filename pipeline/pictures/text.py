"""Text on pictures, in the font that matplotlib brings along."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK = (25, 25, 25)
PAPER = (255, 255, 255)


@lru_cache(maxsize=16)
def font(size: int, bold: bool = False) -> Any:
    """Return DejaVu Sans at a size in px."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def shortened(text: str, size: int, width: int, bold: bool = False) -> str:
    """Return text that fits into `width` px, its middle left out where it must be."""
    text = "".join(letter if letter.isprintable() else "�" for letter in text)
    if font(size, bold).getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 2:
        kept -= 1
        short = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
        if font(size, bold).getlength(short) <= width:
            return short
    return "…"


def wrapped(text: str, size: int, width: int) -> list[str]:
    """Break text into lines of at most `width` px."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font(size).getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def text_block(
    lines: list[str], size: int, width: int, *, bold: bool = False, margin: int = 0
) -> np.ndarray:
    """Draw lines of text, (height, width, 3) uint8 RGB on white."""
    step = round(size * 1.35)
    block = Image.new("RGB", (width, step * len(lines) + 2 * margin), PAPER)
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((margin, margin + number * step), line, INK, font(size, bold))
    return np.asarray(block)


def clock(seconds: float) -> str:
    """Return a time as 0:08.4."""
    tenths = round(max(0.0, seconds) * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"

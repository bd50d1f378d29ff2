"""Attention drawn over frames, where the receptive fields of its cells lie.

`Look` is what sheets and films show of one video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data.errors import InputError
from model.features.geometry import MapGeometry
from pipeline.pictures.options import OverlayOptions

# The strongest colour stands for at least this multiple of an even spread. Otherwise attention that
# is almost even would look strong.
_LEAST_LIMIT = 2.0
_DARKEST = 64
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # of BGR
_GREY = 150  # of the frame under the colour bar
# Opacity grows with this power of strength: 1 hides weak attention, 0.5 gives it a hard edge.
_FADE = np.float32(0.7)


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where a ranker looked in one video, and how it scored it; N steps.

    Attributes
    ----------
    video : str
        Its name.
    headline : str
        Score and rank in words.
    score : float
    times : ndarray (N,) float64
        Seconds of each step.
    running : ndarray (N,) float64
        Score after each step.
    attention : ndarray (N, H, W) float32
        Each map sums to 1.
    geometry : MapGeometry or None
        Where the cells lie; None: they are equal parts of the frame.
    frames : sequence of ndarray (height, width, 3) uint8, BGR
        Frame of each step.
    flow : ndarray (N, 2, h, w) float32, or None
        Flow at each step's frame, px a frame.
    """

    video: str
    headline: str
    score: float
    times: np.ndarray
    running: np.ndarray
    attention: np.ndarray
    geometry: MapGeometry | None
    frames: Sequence[np.ndarray]
    flow: np.ndarray | None = None

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of attention at each step, as a share of the greatest possible."""
        return entropy(self.attention)


def upsample(
    attention: np.ndarray, geometry: MapGeometry | None, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Spread an attention map over a frame.

    Parameters
    ----------
    attention : ndarray (H, W)
        Sums to 1.
    geometry : MapGeometry or None
        Where the cells lie; None: they are equal parts of the frame.
    width, height : int
        Of the frame, px, after rotation.

    Returns
    -------
    density : ndarray (height, width) float32
        Attention relative to an even spread over the map (1 = even), linear between the centres
        of the cells and constant beyond the outermost.
    under_map : ndarray (height, width) bool
        Pixels under the map; beyond it `density` is 0.
    """
    rows, columns = attention.shape
    down = _weights(height, rows, geometry or MapGeometry.even(rows))
    across = _weights(width, columns, geometry or MapGeometry.even(columns))
    density = down @ (attention * attention.size).astype(np.float32) @ across.T
    x, y = _centres(width), _centres(height)
    edge = geometry.edge if geometry else 1.0
    under_map = (y < edge)[:, None] & (x < edge)[None, :]
    return np.where(under_map, density, np.float32(0)), under_map


def _centres(count: int) -> np.ndarray:
    """Centres of `count` pixels as shares of the side."""
    return (np.arange(count) + 0.5) / count


@lru_cache(maxsize=16)
def _weights(pixels: int, cells: int, geometry: MapGeometry) -> np.ndarray:
    """Share of each cell in each pixel, (pixels, cells) float32, rows sum to 1."""
    place = np.clip((_centres(pixels) - geometry.first) / geometry.cell, 0, cells - 1)
    distance = np.abs(place[:, None] - np.arange(cells)[None, :])
    return np.maximum(0, 1 - distance).astype(np.float32)


def colour_limit(attention: np.ndarray, options: OverlayOptions) -> float | None:
    """Return the density with the strongest colour over (N, H, W) maps; None: each frame's own."""
    if options.scale == "frame":
        return None
    if options.scale == "fixed":
        return options.scale_limit
    return max(_LEAST_LIMIT, float(attention.max() * attention[0].size))


def blend(
    frame: np.ndarray,
    attention: np.ndarray,
    geometry: MapGeometry | None,
    options: OverlayOptions,
    limit: float | None = None,
) -> np.ndarray:
    """Draw attention over a frame.

    Parameters
    ----------
    frame : ndarray (height, width, 3) uint8, BGR
    attention : ndarray (H, W)
    limit : float, optional
        Density of the strongest colour, from `colour_limit`; by default this map's own maximum.

    Returns
    -------
    ndarray (height, width, 3) uint8, BGR
    """
    height, width = frame.shape[:2]
    density, under_map = upsample(attention, geometry, width, height)
    top = float(density.max()) if limit is None else limit
    strength = np.clip((density - 1) / max(top - 1, 1e-6), 0, 1)
    colour, alpha = shades(strength, options)
    if options.grey:
        frame = _grey(frame)
    mixed = frame * (1 - alpha) + colour * alpha
    # The ranker sees nothing beyond the map: dark, so that it is not taken for weak attention.
    return np.where(under_map[..., None], np.rint(mixed), frame * 0.35).astype(np.uint8)


def _grey(frame: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(frame @ _LUMA).astype(np.uint8)[:, :, None], 3, axis=2)


def shades(strength: np.ndarray, options: OverlayOptions) -> tuple[np.ndarray, np.ndarray]:
    """Return colours (…, 3) float32 BGR and opacities (…, 1) for strengths in [0, 1]."""
    table = colour_table(options.colours)
    # The dark quarter of a colour map would look like a shadow in the frame.
    levels = np.rint(_DARKEST + strength * (len(table) - 1 - _DARKEST)).astype(np.uint8)
    alpha = np.float32(options.opacity) * strength.astype(np.float32) ** _FADE
    return table[levels], alpha[..., None]


@lru_cache(maxsize=4)
def colour_table(name: str) -> np.ndarray:
    """Return the 256 colours of a matplotlib colour map, (256, 3) float32 BGR in 0 … 255."""
    from matplotlib import colormaps

    if name not in colormaps:
        raise InputError(f"--colours {name}: no such matplotlib colour map; try plasma or cividis")
    return np.asarray(colormaps[name](np.arange(256)))[:, 2::-1].astype(np.float32) * 255


def colour_bar(options: OverlayOptions, width: int, height: int) -> np.ndarray:
    """Draw even attention (left) to the strongest (right) as over a grey frame, RGB."""
    colour, alpha = shades(np.linspace(0, 1, width), options)
    row = _GREY * (1 - alpha) + colour[:, ::-1] * alpha
    return np.repeat(np.rint(row).astype(np.uint8)[None], height, axis=0)


def strongest(limit: float | None) -> str:
    """Return in words what the strongest colour stands for."""
    return "the frame's most" if limit is None else f"{limit:.1f} × even"


def entropy(attention: np.ndarray) -> np.ndarray:
    """Entropy of (N, H, W) attention maps as a share of the greatest possible, (N,) in [0, 1]."""
    flat = attention.reshape(len(attention), -1).astype(np.float64)
    terms = np.where(flat > 0, flat * np.log(np.maximum(flat, 1e-300)), 0)
    return -terms.sum(axis=1) / np.log(flat.shape[1]) if flat.shape[1] > 1 else np.zeros(len(flat))


def clock(seconds: float) -> str:
    """Return a time as 0:08.4."""
    tenths = round(max(0.0, seconds) * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"

"""Attention drawn on the pixels that the trunk truly saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class OverlayOptions:
    """How attention is coloured over a frame."""

    colour_scale: Literal["video", "frame"] = field(
        default="video",
        metadata={
            "help": "One colour scale for a whole video, so that frames compare, or each frame's "
            "own, so that weak attention shows.",
            "source": "ours",
        },
    )
    opacity: float = field(
        default=0.6,
        metadata={
            "help": "Opacity of the strongest attention; the weakest is clear.",
            "source": "ours",
            "min": 0.0,
            "max": 1.0,
        },
    )
    colours: str = field(
        default="inferno",
        metadata={
            "help": "A matplotlib colour map; the default also reads in grey and with any of the "
            "common colour-vision deficiencies.",
            "source": "ours",
        },
    )


@dataclass(frozen=True)
class MapGeometry:
    """Where the cells of a fused map lie in the frame.

    Attributes
    ----------
    cell : float
        Side of a cell as a share of the frame, the same in x and y because frames are resized to
        a square. ConvFusion's 2×2 windows of stride 2 drop the last row and column of an odd
        stream map: the map then ends short of the frame's right and lower edge.
    """

    cell: float

    @classmethod
    def of(cls, input_size: int, trunk_stage: str) -> MapGeometry:
        """Return the geometry for a trunk input of `input_size` px.

        A trunk halves five times up to conv5 (four up to conv4); ConvFusion halves once more.
        """
        strides = {"conv5": 64, "conv4": 32}
        return cls(strides[trunk_stage] / input_size)


def upsample(
    attention: np.ndarray, geometry: MapGeometry, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Spread an attention map over a frame.

    Parameters
    ----------
    attention : ndarray (H, W)
        Sums to 1.
    geometry : MapGeometry
    width, height : int
        Of the frame, px, after rotation.

    Returns
    -------
    density : ndarray (height, width) float32
        Attention relative to an even spread over the map (1 = even), linear between the centres
        of the cells.
    seen : ndarray (height, width) bool
        Pixels under the map; beyond it `density` is 0.
    """
    import cv2

    rows, columns = attention.shape
    x = (np.arange(width, dtype=np.float32) + 0.5) / width / geometry.cell
    y = (np.arange(height, dtype=np.float32) + 0.5) / height / geometry.cell
    grid_x, grid_y = np.meshgrid(x - 0.5, y - 0.5)
    density = cv2.remap(
        (attention * attention.size).astype(np.float32),
        grid_x.astype(np.float32),
        grid_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    seen = (y < rows)[:, None] & (x < columns)[None, :]
    return np.where(seen, density, np.float32(0)), seen


def colour_limit(attention: np.ndarray, options: OverlayOptions) -> float | None:
    """Return the density with the strongest colour over (N, H, W) maps; None: each frame's own."""
    if options.colour_scale == "frame":
        return None
    return float(attention.max() * attention[0].size)


def blend(
    frame: np.ndarray,
    attention: np.ndarray,
    geometry: MapGeometry,
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
    density, seen = upsample(attention, geometry, width, height)
    strength = np.clip(density / max(limit or float(density.max()), 1e-12), 0, 1)
    levels = np.rint(strength * 255).astype(np.uint8)
    alpha = (options.opacity * strength)[..., None]
    mixed = frame * (1 - alpha) + colour_table(options.colours)[levels] * alpha
    # What lies beyond the map was not looked at: darkened, so that it cannot be taken for weak.
    return np.where(seen[..., None], np.rint(mixed), frame * 0.35).astype(np.uint8)


def colour_table(name: str) -> np.ndarray:
    """Return the 256 colours of a matplotlib colour map, (256, 3) float64 BGR in 0 … 255."""
    from matplotlib import colormaps

    from data.errors import InputError

    if name not in colormaps:
        raise InputError(f"--colours {name}: no such matplotlib colour map; try inferno or cividis")
    return np.asarray(colormaps[name](np.arange(256)))[:, 2::-1] * 255


def entropy(attention: np.ndarray) -> np.ndarray:
    """Entropy of (N, H, W) attention maps as a share of the greatest possible, (N,) in [0, 1]."""
    flat = attention.reshape(len(attention), -1).astype(np.float64)
    terms = np.where(flat > 0, flat * np.log(np.maximum(flat, 1e-300)), 0)
    return -terms.sum(axis=1) / np.log(flat.shape[1]) if flat.shape[1] > 1 else np.zeros(len(flat))

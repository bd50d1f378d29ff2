"""Whether attention finds what it should: mass inside a known box, and the pointing game.

The pointing game (Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016)
asks whether the most attended place lies in the box. Both measures need a comparison: chance, that
is attention spread evenly, and an untrained network of the same form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.features.geometry import MapGeometry

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """How well attention agrees with boxes, averaged over the maps that have a box.

    Attributes
    ----------
    mass : float
        Attention inside the box, in [0, 1]: a cell's attention is spread evenly over the part of
        the frame that is nearest to its centre.
    pointing : float
        Share of maps whose most attended cell has its centre in the box; where several cells are
        equally high, the share of them that do.
    maps : int
        Number of maps with a box.
    """

    mass: float
    pointing: float
    maps: int


def box_coverage(
    boxes: Array, height: int, width: int, geometry: MapGeometry | None = None
) -> Array:
    """Return how much of each cell a box covers, (N, H, W) in [0, 1].

    Parameters
    ----------
    boxes : ndarray (N, 4)
        left, top, right, bottom as shares of the frame's width and height, in [0, 1].
    height, width : int
        Cells of a map.
    geometry : MapGeometry, optional
        Where they lie; by default they are equal parts of the whole frame.

    Raises
    ------
    ValueError
        If a box has another form, or is empty or out of [0, 1]. NaN rows are no boxes and give 0.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected (N, 4), got {boxes.shape}")
    known = ~np.isnan(boxes).any(axis=1)
    left, top, right, bottom = boxes[known].T
    if ((left >= right) | (top >= bottom) | (left < 0) | (top < 0)).any() or (
        (right > 1) | (bottom > 1)
    ).any():
        raise ValueError("boxes: expected 0 ≤ left < right ≤ 1 and 0 ≤ top < bottom ≤ 1")
    covered = np.zeros((len(boxes), height, width))
    rows = _overlap(top, bottom, (geometry or MapGeometry.even(height)).bounds(height))
    columns = _overlap(left, right, (geometry or MapGeometry.even(width)).bounds(width))
    covered[known] = rows[:, :, None] * columns[:, None, :]
    return covered


def _overlap(start: Array, end: Array, bounds: Array) -> Array:
    """Return the share of each part between `bounds` that lies inside [start, end], (N, parts)."""
    low = np.maximum(bounds[:-1], start[:, None])
    high = np.minimum(bounds[1:], end[:, None])
    return np.clip(high - low, 0, None) / np.diff(bounds)


def agreement(
    attention: NDArray[np.floating], boxes: Array, geometry: MapGeometry | None = None
) -> Agreement:
    """Measure attention maps against boxes.

    Parameters
    ----------
    attention : ndarray (N, H, W)
        Not negative; each map is scaled to a sum of 1.
    boxes : ndarray (N, 4)
        As for `box_coverage`; NaN where nothing is known.
    geometry : MapGeometry, optional
        As for `box_coverage`.

    Raises
    ------
    ValueError
        If the shapes do not agree, a map is negative or empty, or there is no box at all.
    """
    maps = np.asarray(attention, dtype=np.float64)
    if maps.ndim != 3 or len(maps) != len(boxes):
        raise ValueError(f"attention: expected ({len(boxes)}, H, W), got {maps.shape}")
    total = maps.sum(axis=(1, 2), keepdims=True)
    if (maps < 0).any() or not (total > 0).all():
        raise ValueError("attention: expected maps that are nowhere negative and not all zero")
    known = ~np.isnan(np.asarray(boxes, dtype=np.float64)).any(axis=1)
    if not known.any():
        raise ValueError("no map has a box")
    _, height, width = maps.shape
    mass = (maps / total * box_coverage(boxes, height, width, geometry)).sum(axis=(1, 2))
    peak = maps == maps.max(axis=(1, 2), keepdims=True)
    inside = _centre_inside(boxes, height, width, geometry)
    hit = (peak & inside).sum(axis=(1, 2)) / peak.sum(axis=(1, 2))
    return Agreement(float(mass[known].mean()), float(hit[known].mean()), int(known.sum()))


def chance(boxes: Array, height: int, width: int, geometry: MapGeometry | None = None) -> Agreement:
    """Return what attention spread evenly over H×W cells reaches."""
    return agreement(np.ones((len(boxes), height, width)), boxes, geometry)


def compare(
    attentions: Mapping[str, NDArray[np.floating]],
    boxes: Array,
    geometry: MapGeometry | None = None,
) -> dict[str, Agreement]:
    """Measure several networks, e.g. "trained" and "untrained", and "chance" with them."""
    measured = {name: agreement(maps, boxes, geometry) for name, maps in attentions.items()}
    height, width = next(iter(attentions.values())).shape[1:]
    return measured | {"chance": chance(boxes, height, width, geometry)}


def _centre_inside(
    boxes: Array, height: int, width: int, geometry: MapGeometry | None
) -> NDArray[np.bool_]:
    """Return which cells have their centre in the box, (N, H, W)."""
    left, top, right, bottom = np.asarray(boxes, dtype=np.float64).T[:, :, None]
    x = (geometry or MapGeometry.even(width)).centres(width)
    y = (geometry or MapGeometry.even(height)).centres(height)
    rows, columns = (y >= top) & (y <= bottom), (x >= left) & (x <= right)
    return rows[:, :, None] & columns[:, None, :]

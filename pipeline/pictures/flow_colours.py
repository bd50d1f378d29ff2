"""Optical flow as colours: hue says where a pixel moves, the distance from white how fast.

Colours are mixed in Oklab (Ottosson 2020), so that equal steps of direction look equally large and
equal speeds equally light: yellow does not outshine blue as it does on a wheel drawn in HSV. Right
is red, down yellow-green, left blue-green, up violet: the order of the wheel by Baker et al. (A
Database and Evaluation Methodology for Optical Flow, IJCV 2011).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Oklab hue, in degrees, of motion to the right; sRGB's own red has it.
_RIGHT_DEGREES = 29.23
#: Oklab lightness at full colour. Red and violet hold most colour there together.
_RIM_LIGHTNESS = 0.65
#: Oklab chroma at full colour, where the display can show it; blue-green shows .11.
_RIM_CHROMA = 0.17
_HUES = 720
_DISPLAYABLE = 1e-4

# Oklab to the cube roots of cone responses, and those responses to linear sRGB (Ottosson 2020).
_TO_CONES = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def colours(flow: NDArray[np.floating], full: float) -> NDArray[np.uint8]:
    """Colour a flow field.

    Parameters
    ----------
    flow : ndarray (2, H, W)
        Displacement in px, u to the right and v down.
    full : float
        Speed in px that gets the full colour; faster pixels look the same. White stands still.

    Returns
    -------
    ndarray (H, W, 3) uint8
        RGB. Pixels whose flow is not a number are black.

    Raises
    ------
    ValueError
        `full` is not above 0.
    """
    if not full > 0:
        raise ValueError(f"the speed of full colour is above 0 px, got {full!r}")
    u, v = np.asarray(flow, dtype=np.float64)
    known = np.isfinite(u) & np.isfinite(v)
    u, v = np.where(known, u, 0), np.where(known, v, 0)
    strength = np.minimum(np.hypot(u, v) / full, 1)[..., None]
    lab = _WHITE + strength * (_rim_colours(np.arctan2(v, u)) - _WHITE)
    rgb = _encoded(np.clip(_linear(lab), 0, 1))
    return np.where(known[..., None], np.rint(rgb * 255), 0).astype(np.uint8)


def wheel(side: int) -> NDArray[np.uint8]:
    """Draw the legend: each pixel coloured as motion from the centre to it.

    Parameters
    ----------
    side : int
        Width and height in px; the circle of full colour touches the edges.

    Returns
    -------
    ndarray (side, side, 4) uint8
        RGBA, clear outside the circle. x grows to the right and y down, as in the field.
    """
    place = (np.arange(side) + 0.5) / side * 2 - 1
    flow = np.stack(np.meshgrid(place, place))
    inside = np.hypot(*flow) <= 1
    return np.dstack([colours(flow, 1.0), np.where(inside, 255, 0).astype(np.uint8)])


def tick_step(full: float) -> float:
    """Return the largest 5, 2, 1 or 0.5 times a power of ten that goes twice into `full`."""
    power = 10.0 ** math.floor(math.log10(full))
    return next(step * power for step in (5, 2, 1, 0.5) if full / (step * power) >= 2 - 1e-9)


def _rim_colours(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Oklab colours (…, 3) of full speed in these directions (radians, clockwise from right)."""
    turn = np.asarray(direction) / (2 * math.pi)
    place = (turn % 1) * _HUES
    low = np.floor(place).astype(int) % _HUES
    share = (place - np.floor(place))[..., None]
    rim = _rim()
    return rim[low] * (1 - share) + rim[(low + 1) % _HUES] * share


@lru_cache(maxsize=1)
def _rim() -> NDArray[np.float64]:
    """Oklab colours (_HUES, 3) around the wheel: one lightness, chroma as displays allow."""
    hue = math.radians(_RIGHT_DEGREES) + np.arange(_HUES) / _HUES * 2 * math.pi
    low, high = np.zeros(_HUES), np.full(_HUES, _RIM_CHROMA)
    for _ in range(20):
        chroma = (low + high) / 2
        linear = _linear(_lab(hue, chroma))
        shown = ((linear > -_DISPLAYABLE) & (linear < 1 + _DISPLAYABLE)).all(axis=-1)
        low, high = np.where(shown, chroma, low), np.where(shown, high, chroma)
    return _lab(hue, low)


def _lab(hue: NDArray[np.float64], chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    lightness = np.full_like(hue, _RIM_LIGHTNESS)
    return np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)


def _linear(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Oklab to linear sRGB, (…, 3); outside [0, 1] where a display cannot show it."""
    return (lab @ _TO_CONES.T) ** 3 @ _TO_LINEAR.T


def _encoded(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light to sRGB's own curve (IEC 61966-2-1), [0, 1]."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


_WHITE = np.array([1.0, 0.0, 0.0])

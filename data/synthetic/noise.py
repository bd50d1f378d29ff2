"""Random streams and smooth random curves."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_PADDING = 64  # frames thrown away, so that a curve's two ends are not periodic neighbours


class Stream(IntEnum):
    """What a random stream is for; each video has one of each, independent of the others."""

    NUISANCE = 0
    MOTION = 1
    SENSOR = 2
    SKILL = 3


def stream(seed: int, video: int, purpose: Stream, frame: int = 0) -> np.random.Generator:
    """Return the generator of one purpose, of one video (and frame), of the set `seed`."""
    return np.random.default_rng([seed, video, int(purpose), frame])


def smooth_noise(
    rng: np.random.Generator, frames: int, low: float, high: float, rate: float, curves: int = 2
) -> Floats:
    """Draw band-limited noise of unit standard deviation.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the randomness comes from.
    frames : int
        Number of samples.
    low, high : float
        The band, Hz; a band narrower than the spectrum's resolution takes the nearest line.
    rate : float
        Samples a second, Hz.
    curves : int
        Number of independent curves, scaled together.

    Returns
    -------
    ndarray, shape (frames, curves), float64
    """
    total = frames + _PADDING
    frequency = np.fft.rfftfreq(total, 1.0 / rate)
    shape = (curves, len(frequency))
    spectrum = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    inside = (frequency >= low) & (frequency <= high)
    if not inside.any():
        inside[np.argmin(np.abs(frequency - (low + high) / 2))] = True
    noise = np.fft.irfft(spectrum * inside, total, axis=1)[:, :frames]
    return np.ascontiguousarray((noise / (noise.std() + 1e-9)).T)

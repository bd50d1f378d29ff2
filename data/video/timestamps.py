"""Time stamps of decoded frames made usable: finite and never going back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

DEFAULT_FPS = 25.0
# Rates outside are placeholders of containers that do not know theirs (raw streams: 90000).
_LOWEST_FPS, _HIGHEST_FPS = 1e-3, 1000.0


def usable_times(
    stamps: NDArray[np.float64], stated_fps: float
) -> tuple[NDArray[np.float64], float, str | None]:
    """Turn the container's time stamps into times that a plan can rely on.

    Parameters
    ----------
    stamps
        (F,) float64 seconds, as the container gives them for the decoded frames in order.
    stated_fps
        Frames a second that the header states; anything implausible counts as not stated.

    Returns
    -------
    times : (F,) float64
        The stamps where they are finite, never go back and are not all the same; else frame
        number / fps.
    fps : float
        The stated rate, else the mean rate of the stamps, else 25.
    warning : str or None
        Says so when the stamps could not be used.
    """
    count = len(stamps)
    steps = np.diff(stamps)
    span = float(stamps[-1] - stamps[0]) if count > 1 else 0.0
    usable = bool(np.isfinite(stamps).all()) and not (steps < 0).any() and (span > 0 or count < 2)
    fps = stated_fps
    if not (math.isfinite(fps) and _LOWEST_FPS <= fps <= _HIGHEST_FPS):
        fps = (count - 1) / span if usable and span > 0 else DEFAULT_FPS
    if usable:
        return stamps, fps, None
    reason = "no time stamps" if not steps.any() else "time stamps go back or are not numbers"
    warning = f"{reason}; times are frame number / {fps:g} fps"
    return np.arange(count, dtype=np.float64) / fps, fps, warning

"""The description of a video as it was decoded: `VideoInfo`, its times and its warnings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DEFAULT_FPS = 25.0
# Rates outside are placeholders of containers without a rate (raw streams: 90000).
_LOWEST_FPS, _HIGHEST_FPS = 1e-3, 1000.0
# How the warnings begin that `strict` turns into failures.
_DAMAGE = ("damaged: ", "the header claims ", "frames are missing ")


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """One video as it was decoded, whatever its header says."""

    path: Path  # The file, or the folder of frames.
    size: int  # Bytes, of all frames together for a folder.
    digest: str  # SHA-256 (hex) of the file; for a folder, of its frames' names and bytes.
    claimed_frames: int = -1  # By the header; -1 where it does not say.
    frames: int  # That could be decoded.
    width: int  # Pixels, after rotation; so is the height.
    height: int
    rotation: int = 0  # Degrees clockwise by which each frame was turned: 0, 90, 180 or 270.
    mirrored: bool = False  # Left to right, before it was turned.
    fps: float  # That the header states; the mean rate where it states none.
    times: NDArray[np.float64]  # (F,) seconds, as the file states them; never going back.
    warnings: tuple[str, ...]  # Faults and assumptions, a line each.


def damage_among(warnings: Iterable[str]) -> list[str]:
    """Those of a video's warnings that report damage or a miscount; the others are remarks."""
    return [warning for warning in warnings if warning.startswith(_DAMAGE)]


def usable_times(
    stamps: NDArray[np.float64], stated_fps: float
) -> tuple[NDArray[np.float64], float, str | None]:
    """Turn the container's time stamps into times that a plan can rely on.

    Parameters
    ----------
    stamps
        (F,) float64 seconds, as the container gives them for the decoded frames in order. Where
        the first ones are missing (NaN), as Matroska leaves those before zero, they are counted
        back from the first one that is there.
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
        Set when the stamps could not be used.
    """
    count = len(stamps)
    fps = stated_fps
    stated = math.isfinite(fps) and _LOWEST_FPS <= fps <= _HIGHEST_FPS
    known = np.flatnonzero(np.isfinite(stamps))
    if stated and len(known) and known[0] > 0:
        before = np.arange(-known[0], 0) / fps
        stamps = np.concatenate([stamps[known[0]] + before, stamps[known[0] :]])
    steps = np.diff(stamps)
    span = float(stamps[-1] - stamps[0]) if count > 1 else 0.0
    usable = bool(np.isfinite(stamps).all()) and not (steps < 0).any() and (span > 0 or count < 2)
    if not stated:
        fps = (count - 1) / span if usable and span > 0 else DEFAULT_FPS
    if usable:
        return stamps, fps, None
    reason = (
        "no time stamps"
        if not len(known) or not steps.any()
        else "time stamps go back or are not numbers"
    )
    warning = f"{reason}; times are frame number / {fps:g} fps"
    return np.arange(count, dtype=np.float64) / fps, fps, warning

"""What a scan of a video finds out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class VideoInfo:
    """One video as it was decoded, whatever its header says.

    Attributes
    ----------
    path
        The file, or the folder of frames.
    size
        Bytes, of all frames together for a folder.
    digest
        SHA-256 (hex) of the file; for a folder, of its frames' names and bytes.
    claimed_frames
        Frames that the header claims, -1 where it does not say.
    frames
        Frames that could be decoded.
    width, height
        Pixels, after rotation.
    rotation
        Degrees clockwise by which each frame was turned, as the file asks: 0, 90, 180 or 270.
    fps
        Frames a second that the header states; the mean rate where it states none.
    times
        (F,) float64, seconds at which each frame is shown; never going back.
    warnings
        What is wrong or was assumed, a line each.
    """

    path: Path
    size: int
    digest: str
    claimed_frames: int
    frames: int
    width: int
    height: int
    rotation: int
    fps: float
    times: NDArray[np.float64]
    warnings: tuple[str, ...]


# How the warnings begin that `strict` makes failures of.
_DAMAGE = ("damaged: ", "the header claims ", "frames are missing ")


def damage_among(warnings: Iterable[str]) -> list[str]:
    """Those of a video's warnings that tell of damage or a miscount; the others are remarks."""
    return [warning for warning in warnings if warning.startswith(_DAMAGE)]

"""A video of a few frames for tests that only need one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_video(path: Path, frames: int) -> None:
    """Write a moving texture of 48 pixels a side, at 25 frames a second; the folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texture = np.random.default_rng(0).integers(0, 255, (12, 12, 3), np.uint8)
    texture = cv2.resize(texture, (48, 48))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (48, 48))
    for t in range(frames):
        writer.write(np.roll(texture, (t * t % 5, t), axis=(0, 1)))
    writer.release()

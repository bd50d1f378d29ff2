"""Time stamps: to the last bit those of earlier versions, on which digests of caches rest."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.video.reading import scan


@pytest.mark.parametrize("fps", [15.0, 23.976, 29.97])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_times_are_those_of_opencv_to_the_bit(tmp_path: Path, name: str, fps: float) -> None:
    """A flow cache made anew gets another digest, and all features made from it are refused."""
    path = tmp_path / name
    kind = "mp4v" if name.endswith("mp4") else "MJPG"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*kind), fps, (64, 48))
    for frame in range(60):
        writer.write(np.full((48, 64, 3), 4 * frame, np.uint8))
    writer.release()
    capture, times = cv2.VideoCapture(str(path)), []
    while capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    capture.release()
    assert scan(path).times.tolist() == times

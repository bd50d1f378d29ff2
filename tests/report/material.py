"""What the tests of the page share: videos with hostile names, and options of small rankers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from model.ranker.options import RankerOptions, TrainOptions

# The slash makes the last one a file in a folder called "e<", as a user could name it.
HOSTILE = (
    "<img src=x onerror=alert(1)>.avi",
    "{{7*7}}.avi",
    "\"quoted\" & 'single'.avi",
    "javascript:alert(2).avi",
    "e</script><script>alert(3)<!--.avi",
)
NAMES = (*HOSTILE, "plain_5.avi", "plain_6.avi", "a_long_" + "name_" * 30 + ".avi", "broken.avi")
RANKER = RankerOptions(segments=3, hidden_size=4, attention_size=3)
TRAIN = TrainOptions(epochs=4, protocol="last")


def write_video(path: Path, colour: int, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for frame in range(frames):
        writer.write(np.full((48, 64, 3), (colour, 10 * frame, 90), np.uint8))
    writer.release()

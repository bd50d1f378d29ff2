"""Films: H.264 in mp4 (yuv420p, index at the front), which browsers, phones and players show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from data.video.file import Frame


def encode(path: Path, pictures: Iterable[Frame], fps: float, quality: Mapping[str, str]) -> None:
    """Write a film.

    Parameters
    ----------
    path
        The mp4 file, by its final or a temporary name.
    pictures
        (H, W, 3) uint8 BGR, all of one size, at least one; of odd sides, the last line is lost.
    fps
        Pictures a second.
    quality
        Options of x264. Files are equal where "threads" is.

    Raises
    ------
    OSError
        The file cannot be written, or the disk is full.
    """
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = None
        for picture in pictures:
            height, width = (side // 2 * 2 for side in picture.shape[:2])
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=dict(quality))
                stream.height, stream.width = height, width
                stream.pix_fmt = "yuv420p"
            even = np.ascontiguousarray(picture[:height, :width])
            frame = av.VideoFrame.from_ndarray(even, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

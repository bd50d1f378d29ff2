"""OpenCV's video capture as this package uses it: quiet, one thread, in order, always released."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

# FFmpeg's own messages would drown the one line for the user; a value set outside is kept.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2

from data.errors import VideoError
from data.video.container import why_not_opened

if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# After a damaged packet one grab fails and the next succeeds. Each failed grab consumes a packet,
# so at most as many fail as frames are missing; without a count, this many in a row are the end.
_FAILURES_AT_END = 8
_MOST_FAILURES = 2000

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# The options above are read from the environment, which all threads share, when a video is opened.
_opening = threading.Lock()


@contextmanager
def opened(path: Path, threads: int = 1) -> Iterator[cv2.VideoCapture]:
    """Open a video file, to be decoded by so many threads.

    Raises
    ------
    VideoError
        OpenCV finds no video in it; the message gives the reason as far as the file shows it.
    """
    with _readable_name(path) as name, _capture(name, threads=threads) as capture:
        if not capture.isOpened():
            raise VideoError(f"{path}: {why_not_opened(path)}")
        yield capture


@contextmanager
def _readable_name(path: Path) -> Iterator[str]:
    """Name that OpenCV can open a file by: absolute, and UTF-8.

    An absolute path keeps FFmpeg from reading "12:30.mp4" as a protocol. A name in another
    encoding, as old archives leave, would crash OpenCV; it gets a link with another name.
    """
    name = os.path.abspath(path)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        with TemporaryDirectory() as folder:
            link = os.path.join(folder, "video" + path.suffix.encode("ascii", "ignore").decode())
            os.symlink(name, link)
            yield link
    else:
        yield name


@contextmanager
def _capture(name: str, lavfi: bool = False, threads: int = 1) -> Iterator[cv2.VideoCapture]:
    with _opening:
        options = os.environ.get(_OPTIONS)
        if lavfi:
            os.environ[_OPTIONS] = "input_format;lavfi"
        try:
            # One decoding thread as a rule: workers run in parallel, and with several threads the
            # frames left of a damaged video could differ from one pass to the next.
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
        finally:
            if lavfi and options is None:
                del os.environ[_OPTIONS]
            elif lavfi:
                os.environ[_OPTIONS] = str(options)
    try:
        yield capture
    finally:
        capture.release()


def interlaced(path: Path) -> bool:
    """Whether the first two frames are flagged as interlaced; False where OpenCV has no filters."""
    with _readable_name(path) as name:
        # The first video stream, as OpenCV takes it; FFmpeg's filter would take the best.
        graph = (
            f"movie={_escaped(name)}:streams={_escaped('v:0')}"
            ",trim=end_frame=2,select='gt(interlace_type,0)'"
        )
        with _capture(graph, lavfi=True) as capture:
            return capture.grab()


def _escaped(name: str) -> str:
    """Escape a file name for an option of a filter, then for the filter graph around it."""
    option = re.sub(r"([\\':])", r"\\\1", name)
    return re.sub(r"([\\'\[\],; ])", r"\\\1", option)


def grabbed(capture: cv2.VideoCapture, lost: list[int]) -> Iterator[int]:
    """Grab frame after frame and yield its number, continuing after damaged packets.

    `lost` receives, for each failure that good frames follow, the number of frames before it.
    """
    claimed = claimed_frames(capture)
    number, failures = 0, 0
    while failures <= min(max(claimed - number, 0) + _FAILURES_AT_END, _MOST_FAILURES):
        if not capture.grab():
            failures += 1
            continue
        lost.extend([number] * failures)
        failures = 0
        yield number
        number += 1


def claimed_frames(capture: cv2.VideoCapture) -> int:
    """Frames that the header claims; -1 for none (raw streams give nonsense)."""
    claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(claimed) if 0 < claimed < 2**40 else -1


def rotation_of(capture: cv2.VideoCapture) -> int:
    """Degrees clockwise by which OpenCV turns the frames: 0, 90, 180 or 270."""
    rotation = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
    return rotation if rotation in (90, 180, 270) else 0


def codec_of(capture: cv2.VideoCapture) -> str:
    """Four-character code of the codec, or "unknown"."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    name = code.to_bytes(4, "little").decode("latin-1").strip("\0 ")
    return name if name and name.isascii() and name.isprintable() else "unknown"

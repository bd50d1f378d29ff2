"""One video file as FFmpeg reads it, through PyAV: the only place that opens videos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from data.errors import VideoError

# (H, W, 3) uint8, BGR.
Frame = NDArray[np.uint8]

_CONVERT = "convert it, for example: ffmpeg -i IN -c:v libx264 OUT.mp4"
# Codes of ITU-T H.273: transfer functions of HDR, and what is shown as it is. Other colours are
# converted to those of BT.709 (1), as FFmpeg's scaler chooses where nothing else is asked for.
HDR = {16: "smpte2084", 18: "arib-std-b67"}
_BT709, _UNSPECIFIED = 1, 2
_NARROW_PRIMARIES = {_BT709, _UNSPECIFIED, 4, 5, 6, 7}
# ISO base media files (mp4, mov, m4v, 3gp) begin with one of these boxes.
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"}
_SAMPLE = 512
# PyAV's log level belongs to the process.
_logging = Lock()


@dataclass(frozen=True)
class Orientation:
    """How a file asks its frames to be shown: mirrored left to right, then turned clockwise."""

    rotation: int = 0  # Degrees: 0, 90, 180 or 270.
    mirrored: bool = False

    @staticmethod
    def of(frame: av.VideoFrame, path: Path) -> Orientation:
        """Return the orientation in a frame's display matrix; VideoError for another transform."""
        sides: Any = frame.side_data
        data = sides.get("DISPLAYMATRIX")
        if data is None:
            return Orientation()
        # A point (x, y) is shown at (a·x + c·y, b·x + d·y); the order is a b u, c d v, x y w.
        matrix = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2] / 65536
        a, b, c, d = matrix.ravel()
        kept, swapped = np.abs([a, d]), np.abs([b, c])
        small = 0.01 * np.abs(matrix).max()  # Writers round sines and cosines.
        if not (kept.min() > small >= swapped.max() or swapped.min() > small >= kept.max()):
            raise VideoError(
                f"{path}: expected a display matrix that turns by quarters or mirrors, found "
                f"{a:.3g} {b:.3g} {c:.3g} {d:.3g}; apply it first: "
                "ffmpeg -i IN -c:v libx264 OUT.mp4"
            )
        mirrored = bool(a * d < b * c)
        x, y = (-a, -b) if mirrored else (a, b)
        return Orientation(round(np.degrees(np.arctan2(y, x)) / 90) * 90 % 360, mirrored)

    def apply(self, frame: Frame) -> Frame:
        """Mirror and turn a picture."""
        if self.mirrored:
            frame = frame[:, ::-1]
        return np.ascontiguousarray(np.rot90(frame, -self.rotation // 90))


@contextmanager
def opened(path: Path, threads: int = 1) -> Iterator[VideoFile]:
    """Open a video file, to be decoded by so many threads.

    Raises
    ------
    VideoError
        It is no regular file, or FFmpeg finds no video in it; the message gives the reason.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            start = file.read(_SAMPLE)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from error
    if not start:
        raise VideoError(f"{path}: the file is empty (0 bytes)")
    if _is_text(start):  # FFmpeg would wait for what a playlist names.
        raise VideoError(
            f"{path}: a text file, not a video (a list of videos is given as @list.txt, or a CSV)"
        )
    try:
        container = _open(path)
    except av.FFmpegError as error:
        raise VideoError(f"{path}: {_why_not_opened(path, start)}") from error
    with container:
        yield VideoFile(path, container, threads)


def check_regular(path: Path) -> None:
    """Refuse what exists and is no regular file: reading a pipe or a device might never end."""
    if not path.exists():
        raise VideoError(f"{path}: no such file")
    if not path.is_file():
        raise VideoError(f"{path}: expected a video file or a folder of frames, found neither")


def _open(path: Path) -> Any:
    # The prefix keeps FFmpeg from reading "12:30.mp4" as a protocol, the list from opening others
    # that a playlist names.
    return av.open(f"file:{path.absolute()}", options={"protocol_whitelist": "file"})


def _why_not_opened(path: Path, start: bytes) -> str:
    """Return one line: why FFmpeg finds no video in a file, in its own words, and what to do."""
    reason = _reason(path)
    if start[4:8] in _FIRST_BOXES:
        return (
            f"an mp4/mov file without its index, or with a damaged one (FFmpeg: {reason}): the "
            "recording or copy was cut off; copy it again, or rebuild the index with a repair tool"
        )
    return (
        f"FFmpeg finds no video in it ({reason}): not a video file, or too damaged; "
        f"if a player shows it, {_CONVERT}"
    )


def _is_text(start: bytes) -> bool:
    """Whether the bytes are text, possibly with the last character cut in two."""
    text = start.decode("utf-8", errors="ignore")
    cut = len(start) - len(text.encode("utf-8"))
    return cut <= 3 and all(letter.isprintable() or letter in "\t\r\n\f" for letter in text)


def _reason(path: Path) -> str:
    """Open a file again to hear what FFmpeg logs of it."""
    with _logging, av.logging.Capture() as logs:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.ERROR)
        try:
            _open(path).close()
        except av.FFmpegError as error:
            entries: list[Any] = [*logs, error.log] if error.log else list(logs)
            lines = dict.fromkeys(" ".join(message.split()) for _, _, message in entries)
            return "; ".join([str(error.strerror), *lines])
        finally:
            av.logging.set_level(level)
    return "unknown"


class VideoFile:
    """An opened video file: one of its streams, decoded once from the start."""

    def __init__(self, path: Path, container: Any, threads: int) -> None:
        self.path = path
        self._container = container
        # The note says which of several streams is read.
        self._stream, self.note = stream, _ = _chosen(path, container)
        self.codec = str(stream.codec_context.codec.canonical_name)
        # By the header, which counts frames (mp4, mov, avi) or states a duration; -1 for none.
        self.counted = stream.frames > 0
        self.fps = float(stream.average_rate or 1 / stream.time_base)  # Can be a nonsense number.
        claimed = stream.frames or round((container.duration or 0) / av.time_base * self.fps)
        self.claimed = claimed if 0 < claimed < 2**40 else -1
        stream.thread_type = "AUTO"
        # Several threads may find other frames in a damaged file: only a count shows that.
        stream.codec_context.thread_count = threads if self.counted else 1
        # Of the frames as shown; known from the first one on.
        self.orientation = Orientation()
        self.width = self.height = 0
        self.transfer = 0  # By ITU-T H.273.
        self.interlaced = False  # One of the first two frames is flagged so.
        self.reason = ""  # FFmpeg's words on the last packet that it could not decode.

    def frames(self, lost: list[int]) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yield every frame with its time stamp in seconds, NaN where it has none.

        Damaged packets are passed over; `lost` receives, for each that good frames follow, the
        number of frames before it.
        """
        number = failures = 0
        for decoded in self._decoded():
            if isinstance(decoded, av.FFmpegError):
                failures += 1
                self.reason = str(decoded.strerror)
                continue
            for frame in decoded:
                lost.extend([number] * failures)
                failures = 0
                if number < 2:
                    self.interlaced |= frame.interlaced_frame
                if not number:
                    self.orientation = Orientation.of(frame, self.path)
                    self.transfer = int(frame.color_trc)
                    self._size = size = frame.width, frame.height
                    turned = self.orientation.rotation % 180
                    self.width, self.height = size[::-1] if turned else size
                stamp = frame.dts if frame.pts is None else frame.pts
                yield float("nan") if stamp is None else self._seconds(stamp), frame
                number += 1

    def _seconds(self, stamp: int) -> float:
        """Return a time stamp in seconds, rounded as OpenCV's milliseconds round it.

        Caches of earlier versions hold such times, and their digests count the last bit.
        """
        return stamp * float(self._stream.time_base) * 1000 / 1000

    def _decoded(self) -> Iterator[list[av.VideoFrame] | av.FFmpegError]:
        """Yield the frames of packet after packet, or the error in their place."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:  # An empty one would end the decoding.
                    yield self._tried(packet)
        except av.FFmpegError as error:  # Of reading the file.
            yield error
        yield self._tried(None)

    def _tried(self, packet: Any) -> list[av.VideoFrame] | av.FFmpegError:
        try:
            return list(self._stream.codec_context.decode(packet))
        except av.FFmpegError as error:
            return error

    def picture(self, frame: av.VideoFrame) -> Frame:
        """Convert a frame as OpenCV 5.1 does, and show it as the file asks.

        Chroma is interpolated bicubically; wide gamuts become BT.709. A frame of another size than
        the first is scaled to it.
        """
        colours = int(frame.color_primaries), int(frame.color_trc)
        target = {}
        if colours[0] not in _NARROW_PRIMARIES:
            transfer = _BT709 if colours[1] in {_UNSPECIFIED, *HDR} else colours[1]
            target = {"dst_color_primaries": _BT709, "dst_color_trc": transfer}
        reformatter = _reformatter(get_ident(), frame.format.name, *self._size, *colours)
        picture = reformatter.reformat(
            frame, *self._size, "bgr24", interpolation="BICUBIC", threads=1, **target
        )
        return self.orientation.apply(np.asarray(picture.to_ndarray(), np.uint8))


@lru_cache(maxsize=64)
def _reformatter(thread: int, *kind: object) -> VideoReformatter:
    """Return a thread's own for a kind of frame: a wide gamut's table takes seconds to make."""
    return VideoReformatter()


def _chosen(path: Path, container: Any) -> tuple[Any, str | None]:
    """Return the stream that a player shows, and a note where there are several."""
    cover = Disposition.attached_pic
    streams = [each for each in container.streams.video if not each.disposition & cover]
    if not streams:
        raise VideoError(f"{path}: holds no video stream, only sound, pictures or data")
    default = [each for each in streams if each.disposition & Disposition.default]
    best = container.streams.best("video")
    among = default or streams
    stream = best if best in among else among[0]
    if stream.codec_context is None:
        raise VideoError(
            f"{path}: holds video of a codec that FFmpeg does not know, or its index is damaged; "
            f"copy it again, or {_CONVERT}"
        )
    if len(streams) == 1:
        return stream, None
    kind = "default" if default else "best"
    return stream, f"{len(streams)} video streams; the {kind} one, number {stream.index}, is read"

"""Reading video, once and in order: headers are not trusted and nothing seeks.

A header's frame count can be far off (edit lists, truncated files, raw streams), and seeking is
slower than reading on and hits wrong frames in several containers. So `scan` decodes every frame
once to learn what is there, and `read_frames` decodes them all again and converts the wanted ones;
both count frames in the same way, so indices agree.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from data.errors import VideoError
from data.video.file import HDR, Frame, VideoFile, check_regular, opened
from data.video.frame_folder import folder_digest, read_folder, scan_folder
from data.video.frame_names import is_frames
from data.video.info import VideoInfo, usable_times

_CHUNK = 1 << 20
# How far stated and decoded duration may differ: sound may end later, stamps are rounded.
_DURATION_FRAMES, _DURATION_SHARE = 3, 0.01
_INTERLACED = (
    "interlaced: both fields are woven into each frame; for cleaner flow deinterlace first, "
    "for example: ffmpeg -i IN -vf bwdif OUT.mp4"
)
_TONE_MAP = (
    "ffmpeg -i IN -vf zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable,"
    "zscale=t=bt709:m=bt709:r=tv,format=yuv420p -c:v libx264 OUT.mp4"
)


def scan(path: str | Path, *, strict: bool = False, threads: int = 1) -> VideoInfo:
    """Decode a video once to learn what is in it.

    Parameters
    ----------
    path
        A video file, or a folder of numbered frames.
    strict
        Refuse damaged videos, and those whose header claims another number of frames than can be
        decoded, instead of warning.
    threads
        Decoding threads, at most. They do not change the result: where several find damage, or
        another number of frames than the header counts, one thread decodes again.

    Raises
    ------
    VideoError
        Nothing can be decoded, or the file changes meanwhile; under `strict` also for damage.
    """
    path = Path(path)
    if is_frames(path):
        return scan_folder(path, strict)
    before = _state(path)
    stamps, lost, video = _decoded(path, threads)
    if video.counted and threads > 1 and (lost or video.claimed != len(stamps)):
        stamps, lost, video = _decoded(path, 1)
    times, fps, unstamped = usable_times(np.array(stamps, np.float64), video.fps)
    damage = _damage(video, times, fps, lost)
    if damage and strict:
        raise VideoError(f"{path}: {'; '.join(damage)}")
    digest = file_digest(path)
    if _state(path) != before:
        raise VideoError(
            f"{path}: changed while it was read; run again when it has been written completely"
        )
    return VideoInfo(
        path=path,
        size=before[0],
        digest=digest,
        claimed_frames=video.claimed,
        frames=len(times),
        width=video.width,
        height=video.height,
        rotation=video.orientation.rotation,
        mirrored=video.orientation.mirrored,
        fps=fps,
        times=times,
        warnings=(*damage, *([unstamped] if unstamped else []), *_notes(video)),
    )


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change of a file."""
    check_regular(path)
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _decoded(path: Path, threads: int) -> tuple[array[float], list[int], VideoFile]:
    """Decode every frame: time stamps in seconds, damage, and the file; VideoError without any."""
    lost: list[int] = []
    with opened(path, threads) as video:
        stamps = array("d", (stamp for stamp, _ in video.frames(lost)))
        if stamps:
            return stamps, lost, video
        claims = f", {video.claimed} frames claimed" if video.claimed >= 0 else ""
        raise VideoError(
            f"{path}: holds video (codec {video.codec}{claims}), but no frame can be decoded "
            f"({video.reason or 'its index lists none'}); the file is cut off or damaged: copy it "
            "again"
        )


def _notes(video: VideoFile) -> list[str]:
    """List what was decided or is odd about a video that is whole."""
    notes = [video.note] if video.note else []
    if video.interlaced:
        notes.append(_INTERLACED)
    if video.orientation.mirrored:
        notes.append("mirrored left to right, as the file asks")
    if video.transfer in HDR:
        notes.append(
            f"HDR ({HDR[video.transfer]}): colours differ from what a player shows; tone-map "
            f"first: {_TONE_MAP}"
        )
    return notes


def _damage(video: VideoFile, times: NDArray[np.float64], fps: float, lost: list[int]) -> list[str]:
    """Signs that the file is damaged or its header wrong, one line each."""
    damage = []
    if lost:
        count = "once" if len(lost) == 1 else f"{len(lost)} times"
        damage.append(f"damaged: decoding failed {count}, first after {lost[0]} frames")
    claimed = video.claimed
    if claimed in (-1, len(times)) or (not lost and _only_estimated(video, fps, times)):
        return damage
    return [*damage, f"the header claims {claimed} frames, {len(times)} could be decoded"]


def _only_estimated(video: VideoFile, fps: float, times: NDArray[np.float64]) -> bool:
    """Whether a claim is the header's duration times its rate, and the frames last that long.

    Matroska, MPEG and others do not count frames; at a variable rate the product is any number.
    Their duration counts from zero or from the first frame.
    """
    if video.counted:
        return False
    lasting = times[-1] - min(times[0], 0) + 1 / fps
    return video.claimed / fps - lasting <= max(_DURATION_FRAMES / fps, _DURATION_SHARE * lasting)


def read_frames(
    path: str | Path,
    indices: Sequence[int] | NDArray[np.integer],
    times: Sequence[float] | NDArray[np.float64] | None = None,
) -> Iterator[tuple[int, Frame]]:
    """Yield (index, frame) of the wanted frames in one pass over the video.

    Parameters
    ----------
    path
        A video file, or a folder of numbered frames.
    indices
        Frame numbers as `scan` counts them, strictly increasing.
    times
        Seconds of these frames as `scan` gives them, where they are known: by them a folder's
        pictures are found without decoding those before, of which some may be broken.

    Yields
    ------
    tuple[int, ndarray]
        Frame number and (H, W, 3) uint8 BGR picture, rotated as the file asks.

    Raises
    ------
    ValueError
        The indices are negative or not strictly increasing.
    VideoError
        A wanted frame cannot be decoded.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    if wanted.ndim != 1 or (np.diff(wanted) <= 0).any() or (wanted < 0).any():
        raise ValueError("frame indices must be strictly increasing and not negative")
    path = Path(path)
    if is_frames(path):
        return read_folder(path, wanted, times)
    return _read_file(path, wanted)


def _read_file(path: Path, wanted: NDArray[np.int64]) -> Iterator[tuple[int, Frame]]:
    """Decode a file up to the last wanted frame and convert those that are wanted."""
    remaining = iter(wanted.tolist())
    index = next(remaining, None)
    if index is None:
        return
    with opened(path) as video:
        for number, (_, frame) in enumerate(video.frames([])):
            if number != index:
                continue
            try:
                picture = video.picture(frame)
            except av.FFmpegError as error:
                raise VideoError(
                    f"{path}: frame {number} cannot be converted to BGR: {error.strerror}"
                ) from error
            yield number, picture
            index = next(remaining, None)
            if index is None:
                return
    raise VideoError(f"{path}: frame {index} is wanted, but the video cannot be decoded that far")


def file_digest(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes, or of the names and bytes of a folder's frames."""
    path = Path(path)
    if is_frames(path):
        return folder_digest(path)
    check_regular(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()

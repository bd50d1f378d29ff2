"""What is in a video, by decoding it: headers may be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.errors import InputError
from data.video.file import opened
from data.video.frame_names import is_frames
from data.video.info import VideoInfo
from data.video.reading import scan
from pipeline.inspect.report import Report, failure, short
from pipeline.shell.words import counted, format_bytes, format_duration

#: Containers round time stamps to milliseconds: two steps of one rate differ by as much.
_ROUNDING_S = 1.01e-3


def inspect_video(path: Path, shown: str, strict: bool = False) -> Report:
    """Decode a video file or folder of frames once, and report on it.

    Parameters
    ----------
    path : Path
    shown : str
        The name in the report.
    strict : bool
        Damage and miscounts are problems, not warnings.
    """
    frames = is_frames(path)
    kind = "folder of frames" if frames else "video"
    try:
        info = scan(path, strict=strict)
        codec = None if frames else _codec(path)
    except InputError as error:
        return failure(shown, path, kind, error)
    return _report(info, codec, shown, kind)


def glance_at_video(path: Path, shown: str) -> Report:
    """Report what a video's header claims, after decoding only its first frame."""
    if is_frames(path):
        return inspect_video(path, shown)
    try:
        with opened(path) as video:
            decodes = next(video.frames([]), None) is not None
            frames, fps, width, height = video.claimed, video.fps, video.width, video.height
    except InputError:
        decodes = False
    if not decodes:
        return inspect_video(path, shown)  # It reports the reason.
    size = path.stat().st_size
    report = Report(shown, "video")
    report.facts = {
        "claimed_frames": None if frames < 0 else frames,
        "width": width,
        "height": height,
        "header_fps": fps,
        "bytes": size,
    }
    claims = "an unknown number of" if frames < 0 else f"{frames:,}"
    report.brief = f"{claims} frames claimed, {width}×{height} px, {format_bytes(size)}"
    return report


def _codec(path: Path) -> str:
    with opened(path) as video:
        return video.codec


def _report(info: VideoInfo, codec: str | None, shown: str, kind: str) -> Report:
    rate, steps = frame_rate(info)
    length = float(info.times[-1] - info.times[0]) + 1 / rate["mean_fps"]
    report = Report(shown, kind, warnings=list(info.warnings))
    report.facts = {
        "frames": info.frames,
        "claimed_frames": None if info.claimed_frames < 0 else info.claimed_frames,
        "width": info.width,
        "height": info.height,
        "rotation": info.rotation,
        "mirrored": info.mirrored,
        "codec": codec,
        "header_fps": info.fps,
        **rate,
        "duration_s": length,
        "bytes": info.size,
        "sha256": info.digest,
    }
    claims = "the header claims no number"
    if info.claimed_frames >= 0:
        claims = f"{info.claimed_frames:,} claimed"
    size = f"{info.width}×{info.height} px"
    report.brief = (
        f"{counted(info.frames, 'frame')} of {size}, {steps}, {format_duration(length)}, "
        f"{format_bytes(info.size)}"
    )
    if info.frames < 2:
        report.warnings.append("too short for optical flow, which needs 2 frames")
    report.add("frames", f"{info.frames:,} decoded, {claims}")
    turned = f", each frame turned clockwise by {info.rotation}° as the file asks"
    report.add("size", size + (turned if info.rotation else ""))
    report.add("rate", steps)
    report.add("lasts", format_duration(length))
    if codec is not None:
        report.add("codec", codec)
    report.add("file", f"{format_bytes(info.size)}, sha256 {short(info.digest)}")
    return report


def frame_rate(info: VideoInfo) -> tuple[dict[str, float | bool], str]:
    """Describe how evenly a video's frames follow each other.

    Returns
    -------
    facts : dict
        ``variable_rate``, ``mean_fps``, and the shortest and longest time from one frame to the
        next, in seconds.
    words : str
    """
    steps = np.diff(info.times)
    if not len(steps) or info.times[-1] <= info.times[0]:
        single = {"variable_rate": False, "mean_fps": info.fps}
        return single, f"{info.fps:g} fps by the header"
    mean, low, high = float(steps.mean()), float(steps.min()), float(steps.max())
    # The first and last stamps are rounded too, so the mean is known no better.
    variable = bool(max(high - mean, mean - low) > _ROUNDING_S + _ROUNDING_S / len(steps))
    facts: dict[str, float | bool] = {
        "variable_rate": variable,
        "mean_fps": 1 / mean,
        "shortest_step_s": low,
        "longest_step_s": high,
    }
    if not variable:
        return facts, f"{1 / mean:.4g} fps, constant"
    return facts, (
        f"variable: {1000 * low:.1f} to {1000 * high:.1f} ms from frame to frame, "
        f"mean {1 / mean:.4g} fps (header: {info.fps:.4g})"
    )

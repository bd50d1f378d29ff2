"""Odd video files made with FFmpeg for tests, each from the same small moving picture."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.video.info import VideoInfo
from data.video.reading import read_frames, scan

WIDTH, HEIGHT, RATE = 96, 64, 20
SECONDS = 2
FRAMES = SECONDS * RATE
# Frames that the variable-rate file keeps: every third, and the first five of seventeen.
VFR_KEPT = [n for n in range(FRAMES) if n % 3 == 0 or n % 17 < 5]
_SELECT = "select='not(mod(n\\,3))+lt(mod(n\\,17)\\,5)'"
_SOURCE = f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}:duration={SECONDS}"
_X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"]
_TONE = ["-f", "lavfi", "-i", f"sine=440:duration={SECONDS}"]
_RED = ["-f", "lavfi", "-i", "color=red:size=32x32:rate=20:duration=1"]
_X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"]


def _tagged(space: str, transfer: str, primaries: str) -> list[str]:
    """Encode ten bits that say how their colours are meant."""
    tags = f"setparams=colorspace={space}:color_trc={transfer}:color_primaries={primaries}"
    return ["-vf", f"{tags},format=yuv420p10le", *_X264]


# What goes between the input and the name of the output.
RECIPES: dict[str, list[str]] = {
    "h264.mp4": _X264,
    "h264.mkv": _X264,
    "h264.mov": _X264,
    "h264.ts": _X264,
    "12:30 it's [take], 1;2 名前.mp4": _X264,
    "wrong_ext.txt": [*_X264, "-f", "matroska"],
    "mpeg4.avi": ["-c:v", "mpeg4"],
    "mpeg4_bframes.avi": ["-c:v", "mpeg4", "-bf", "2"],
    "mjpeg.avi": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"],
    "mpeg2.mpg": ["-r", "25", "-c:v", "mpeg2video"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
    "flv.flv": ["-c:v", "flv1"],
    "wmv.wmv": ["-c:v", "wmv2"],
    "anim.gif": ["-vf", "fps=10"],
    "yuv444_odd.mp4": ["-vf", "scale=97:65,format=yuv444p", *_X264],
    "gray.mp4": ["-vf", "format=gray", *_X264],
    "tenbit.mp4": ["-pix_fmt", "yuv420p10le", *_X264],
    "bframes.mp4": ["-c:v", "libx264", "-bf", "3", "-g", "250", "-threads", "1"],
    "fragmented.mp4": [*_X264, "-movflags", "+frag_keyframe+empty_moov"],
    "one_frame.mp4": ["-frames:v", "1", *_X264],
    "two_frames.mp4": ["-frames:v", "2", *_X264],
    "vfr.mp4": ["-vf", _SELECT, "-fps_mode", "vfr", *_X264],
    "vfr.mkv": ["-vf", _SELECT, "-fps_mode", "vfr", *_X264],
    "raw.h264": _X264,
    "interlaced.mpg": [
        "-r",
        "25",
        "-vf",
        "interlace",
        "-flags",
        "+ilme+ildct",
        "-c:v",
        "mpeg2video",
    ],
    "interlaced.mp4": ["-vf", "interlace", "-flags", "+ilme+ildct", *_X264],
    "audio_longer.mp4": [*_TONE, "-t", "1", *_X264, "-c:a", "aac"],
    "two_streams.mp4": [*_RED, "-map", "1:v", "-map", "0:v", *_X264],
    "av1.mp4": ["-c:v", "libaom-av1", "-cpu-used", "8"],
    "tenbit_hevc.mp4": ["-pix_fmt", "yuv420p10le", *_X265],
    "vp9_odd.webm": ["-vf", "scale=97:65", "-c:v", "libvpx-vp9", "-deadline", "realtime"],
    "full_range.mp4": ["-vf", "scale=out_range=pc,format=yuvj420p", "-color_range", "pc", *_X264],
    "bt709.mp4": [
        *("-vf", "scale=out_color_matrix=bt709,setparams=colorspace=bt709,format=yuv420p"),
        *_X264,
    ],
    "sd.mp4": [
        "-vf",
        "setparams=colorspace=smpte170m:color_trc=smpte170m:color_primaries=smpte170m",
        *_X264,
    ],
    "wide.mp4": _tagged("bt2020nc", "bt2020-10", "bt2020"),
    "hlg.mp4": _tagged("bt2020nc", "arib-std-b67", "bt2020"),
    "pq.mkv": _tagged("bt2020nc", "smpte2084", "bt2020"),
    "second_is_default.mkv": [
        *_RED,
        *("-map", "1:v", "-map", "0:v", *_X264),
        *("-disposition:v:0", "0", "-disposition:v:1", "default"),
    ],
}


def ffmpeg() -> str:
    """FFmpeg's program; the test is skipped where the test extra does not provide it."""
    return str(pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe())


def make(name: str, folder: Path) -> Path:
    """Make one of RECIPES in a folder."""
    return encode(folder / name, ["-f", "lavfi", "-i", _SOURCE, *RECIPES[name]])


def encode(path: Path, arguments: list[str]) -> Path:
    """Run FFmpeg with these arguments into `path`; skip the test where it has no such encoder."""
    command = [ffmpeg(), "-loglevel", "error", "-y", *arguments, f"file:{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Unknown encoder" in done.stderr:
        pytest.skip(f"this FFmpeg cannot encode {path.name}")
    assert done.returncode == 0, done.stderr
    return path


def rotated(folder: Path, degrees: int) -> Path:
    """Make a file that asks to be turned by `degrees` counter-clockwise when shown."""
    return shown(folder, f"rotated{degrees}.mp4", "-display_rotation", str(degrees))


def shown(folder: Path, name: str, *options: str) -> Path:
    """Make a file with a display matrix, as these options of FFmpeg's program set it."""
    upright = make("h264.mp4", folder)
    return encode(folder / name, [*options, "-i", str(upright), "-c", "copy"])


def edit_list(folder: Path) -> Path:
    """Make a file whose first frames are decoded but not shown, as cutting with -c copy gives."""
    upright = make("bframes.mp4", folder)
    return encode(folder / "edit_list.mp4", ["-ss", "0.77", "-i", str(upright), "-c", "copy"])


def negative_start(folder: Path) -> Path:
    """Make a Matroska file whose frames begin half a second before zero."""
    upright = make("h264.mp4", folder)
    shift = ["-itsoffset", "-0.5", "-i", str(upright), "-c", "copy"]
    return encode(folder / "negative.mkv", [*shift, "-avoid_negative_ts", "disabled"])


def sound_with_cover(folder: Path, name: str) -> Path:
    """Make a sound file with a picture attached."""
    cover = folder / "cover.jpg"
    cv2.imwrite(str(cover), np.full((32, 32, 3), 90, np.uint8))
    streams = [*_TONE, "-i", str(cover), "-map", "0", "-map", "1", "-c:v", "copy"]
    return encode(folder / name, [*streams, "-disposition:v:0", "attached_pic"])


def truncated(folder: Path, share: float) -> Path:
    """Make the first part of a file whose index lies at its start."""
    arguments = ["-f", "lavfi", "-i", _SOURCE, *_X264, "-movflags", "+faststart"]
    path = encode(folder / "truncated.mp4", arguments)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def corrupted(folder: Path) -> Path:
    """Make a file with bytes changed in its middle, some of them lengths of packets."""
    path = truncated(folder, 1.0).rename(folder / "corrupted.mp4")
    content = bytearray(path.read_bytes())
    chance = random.Random(0)
    for _ in range(400):
        content[chance.randrange(len(content) // 2, len(content) * 9 // 10)] ^= 0xFF
    path.write_bytes(content)
    return path


def decoded_by_ffmpeg(path: Path, width: int, height: int) -> np.ndarray:
    """(F, H, W, 3) uint8 BGR frames as FFmpeg's own program decodes and turns them.

    Frames flagged as interlaced take the colour of each field from the same field, as OpenCV does.
    """
    command = [ffmpeg(), "-loglevel", "quiet", "-threads", "1", "-i", f"file:{path}"]
    command += ["-map", "0:v:0", "-fps_mode", "passthrough", "-vf", "scale=interl=-1"]
    command += ["-pix_fmt", "bgr24"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=False).stdout
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, height, width, 3)


def _grey_distance(frame: np.ndarray, picture: np.ndarray) -> float:
    grey, expected = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (frame, picture))
    return float(np.abs(grey.astype(int) - expected).mean())


def check_against_ffmpeg(path: Path, exact: bool = True) -> VideoInfo:
    """Every frame decoded, none twice, none missing, the picture as FFmpeg gives it."""
    info = scan(path)
    expected = decoded_by_ffmpeg(path, info.width, info.height)
    frames = list(read_frames(path, range(info.frames)))
    assert [index for index, _ in frames] == list(range(len(expected)))
    for (_, frame), picture in zip(frames, expected, strict=True):
        assert frame.dtype == np.uint8
        assert np.array_equal(frame, picture) if exact else _grey_distance(frame, picture) <= 1
    assert len(info.times) == info.frames
    assert (np.diff(info.times) >= 0).all()
    return info

"""Damaged and undecodable videos, and files that are no video: what is left, or a clear line."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import VideoError
from data.video.reading import file_digest, read_frames, scan
from tests.helpers import odd_videos
from tests.helpers.odd_videos import FRAMES, VFR_KEPT


@pytest.mark.parametrize("damage", ["truncated", "corrupted"])
def test_damaged_files_give_what_is_left_with_a_warning(folder, damage):
    """Fails if the first damaged packet ends the video, or damage passes unnoticed."""
    if damage == "truncated":
        path = odd_videos.truncated(folder, 0.6)
    else:
        path = odd_videos.corrupted(folder)
    info = odd_videos.check_against_ffmpeg(path)
    assert 2 <= info.frames < FRAMES
    assert any("frames, " in warning for warning in info.warnings)
    with pytest.raises(VideoError, match=str(path.name)):
        scan(path, strict=True)


def test_truncated_matroska_is_damage_although_its_count_is_an_estimate(folder):
    """Fails if allowing for variable rate lets a file that was cut off pass as whole."""
    path = folder / "half.mkv"
    content = odd_videos.make("h264.mkv", folder).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert any("header claims" in warning for warning in scan(path).warnings)
    with pytest.raises(VideoError, match="header claims"):
        scan(path, strict=True)


@pytest.mark.parametrize("name", ["vfr.mkv", "mpeg2.mpg", "h264.ts", "vp9.webm", "flv.flv"])
def test_whole_files_pass_strictly(folder, name):
    """Fails if --strict refuses whole files because their header only estimates the count."""
    assert scan(odd_videos.make(name, folder), strict=True).frames >= len(VFR_KEPT)


def test_frames_after_a_damaged_packet_are_read(folder):
    """Fails if reading stops at the first packet that cannot be decoded."""
    path = odd_videos.corrupted(folder)
    info = scan(path)
    decoding_failed = [warning for warning in info.warnings if "decoding failed" in warning]
    assert len(decoding_failed) == 1
    before = int(decoding_failed[0].split("after ")[1].split()[0])
    assert info.frames > before + 1


@pytest.mark.parametrize(("name", "tag"), [("h264.mov", b"avc1"), ("h264.mkv", b"V_MPEG4/ISO/AVC")])
def test_a_codec_without_decoder_is_said(tmp_path, name, tag):
    """Fails if a video of an unknown codec looks like an empty or broken file."""
    path = odd_videos.make(name, tmp_path)
    path.write_bytes(path.read_bytes().replace(tag, tag[:-3] + b"zzz"))
    with pytest.raises(VideoError, match=r"codec that FFmpeg does not know.*ffmpeg -i"):
        scan(path)


def test_sound_only_is_reported_as_such(folder):
    """Fails if a sound file looks like a damaged video."""
    path = odd_videos.encode(folder / "sound.mp4", ["-f", "lavfi", "-i", "sine=440:duration=1"])
    with pytest.raises(VideoError, match="no video stream"):
        scan(path)


def test_recording_cut_off_before_its_index(folder):
    """Fails if the commonest kind of broken mp4 is reported as a file that is no video."""
    content = odd_videos.make("h264.mp4", folder).read_bytes()
    path = folder / "cut_off.mp4"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"without its index.*moov atom not found"):
        scan(path)


def test_an_index_cut_in_its_middle_is_the_reason(folder):
    """Fails if a half copied index is reported as a codec that cannot be decoded."""
    content = odd_videos.make("h264.mov", folder).read_bytes()
    start = content.index(b"moov") - 4
    half = start + int.from_bytes(content[start : start + 4], "big") // 2
    path = folder / "half_index.mov"
    path.write_bytes(content[:half])
    with pytest.raises(
        VideoError, match=r"(without its index|index is damaged|no frame can be).*copy"
    ):
        scan(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"not a video\n", "text file"),
        ("déjà vu\n".encode() * 100, "text file"),
        (np.random.default_rng(0).bytes(20000), "finds no video in it.*Invalid data found"),
        (b"\0\0\0\x08ftyp\0\0\0\x01moov", "index|no video stream"),
    ],
)
def test_files_that_are_no_video(tmp_path, content, message):
    """Fails if such a file gives a traceback, or a line that does not say what it is."""
    path = tmp_path / "no_video.mp4"
    path.write_bytes(content)
    for action in (lambda: scan(path), lambda: list(read_frames(path, [0]))):
        with pytest.raises(VideoError, match=message) as raised:
            action()
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_paths_that_are_no_files(tmp_path):
    """Fails if a missing file or an empty folder is reported as a broken video."""
    with pytest.raises(VideoError, match="no such file"):
        scan(tmp_path / "gone.mp4")
    with pytest.raises(VideoError, match="expected numbered images"):
        scan(tmp_path)
    with pytest.raises(VideoError, match="no such file"):
        file_digest(tmp_path / "gone.mp4")

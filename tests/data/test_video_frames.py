"""Folders of numbered frames read as videos."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from data.errors import VideoError
from data.video.info import damage_among
from data.video.reading import file_digest, read_frames, scan
from tests.helpers import odd_videos


def frames_in(folder, names, shape=(24, 32, 3)):
    """Write a picture of its own shade under each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for shade, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full(shape, 10 * shade, dtype=np.uint8))
    return folder


def shades(folder):
    return [
        int(frame[0, 0, 0]) // 10 for _, frame in read_frames(folder, range(scan(folder).frames))
    ]


def test_frames_are_sorted_by_number(tmp_path):
    """Fails if frame 10 comes before frame 2."""
    folder = frames_in(tmp_path / "take", [f"img_{n}.png" for n in range(1, 13)])
    assert shades(folder) == list(range(12))


def test_scan_states_what_it_assumes(tmp_path):
    """Fails if the assumed rate is not reported, or sizes and counts are wrong."""
    folder = frames_in(tmp_path / "take", [f"{n:05d}.png" for n in range(5)])
    (folder / "pairs.csv").write_text("better,worse\n")
    info = scan(folder, strict=True)
    assert (info.frames, info.claimed_frames, info.width, info.height) == (5, -1, 32, 24)
    assert info.times == pytest.approx(np.arange(5) / 25)
    assert info.size == sum(path.stat().st_size for path in folder.glob("*.png"))
    assert info.warnings == ("a folder of frames has no time stamps; 25 frames a second assumed",)


def test_digest_covers_names_and_bytes(tmp_path):
    """Fails if a renamed, changed, added or removed frame leaves caches valid."""
    folder = frames_in(tmp_path / "take", [f"{n}.png" for n in range(4)])
    seen = {file_digest(folder)}
    assert scan(folder).digest in seen
    (folder / "notes.txt").write_text("not a frame")
    assert file_digest(folder) in seen
    (folder / "3.png").rename(folder / "4.png")
    seen.add(file_digest(folder))
    frames_in(folder, ["4.png"])
    seen.add(file_digest(folder))
    frames_in(folder, ["5.png"])
    seen.add(file_digest(folder))
    (folder / "0.png").unlink()
    seen.add(file_digest(folder))
    assert len(seen) == 5


def test_gaps_in_the_numbering_warn_and_fail_strictly(tmp_path):
    """Fails if lost frames pass unnoticed."""
    folder = frames_in(tmp_path / "take", [f"img_{n}.png" for n in (1, 2, 4, 5, 9)])
    assert "frames are missing from the numbering: 3, 6-8" in scan(folder).warnings
    with pytest.raises(VideoError, match=r"take: frames are missing.*3, 6-8"):
        scan(folder, strict=True)


def test_frames_of_unequal_size_are_an_error(tmp_path):
    """Fails if flow would be computed between pictures of two sizes."""
    folder = frames_in(tmp_path / "take", ["img_1.png", "img_2.png"])
    frames_in(folder, ["img_3.png"], shape=(24, 30, 3))
    message = r"img_3\.png: frame is 30x24 px, the frames before it are 32x24"
    with pytest.raises(VideoError, match=message):
        scan(folder)
    with pytest.raises(VideoError, match=message):
        list(read_frames(folder, [0, 2]))


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_broken_frames_are_named(tmp_path, content):
    """Fails if one unreadable image gives a traceback or a shifted video."""
    folder = frames_in(tmp_path / "take", ["img_1.png", "img_2.png"])
    (folder / "img_2.png").write_bytes(content)
    with pytest.raises(VideoError, match=r"img_2\.png: frame cannot be decoded"):
        scan(folder)


def test_grey_and_sixteen_bit_frames_become_bgr(tmp_path):
    """Fails if grey frames come without their three channels or deep ones overflow."""
    folder = tmp_path / "take"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), np.full((24, 32), 200, dtype=np.uint8))
    cv2.imwrite(str(folder / "2.png"), np.full((24, 32), 200 * 256, dtype=np.uint16))
    for _, frame in read_frames(folder, [0, 1]):
        assert frame.shape == (24, 32, 3)
        assert frame.dtype == np.uint8
        assert (frame == 200).all()


def test_pictures_are_distinguished_from_flow_next_to_them(tmp_path):
    """Fails if the folders of two-stream tools (img_, flow_x_, flow_y_) mix flow into the video."""
    folder = frames_in(tmp_path / "take", [f"img_{n}.png" for n in range(3)])
    frames_in(folder, [f"flow_{axis}_{n}.png" for axis in "xy" for n in range(2)])
    assert shades(folder) == [0, 1, 2]


def test_several_series_are_not_guessed(tmp_path):
    """Fails if left and right camera in one folder are taken for one video."""
    folder = frames_in(
        tmp_path / "take", [f"{side}_{n}.png" for side in ("l", "r") for n in (1, 2)]
    )
    with pytest.raises(VideoError, match=r"expected one series.*l_\*\.png \(2\), r_\*\.png \(2\)"):
        scan(folder)


def test_a_frame_after_the_end_is_an_error(tmp_path):
    """Fails if a caller silently gets fewer frames than it asked for."""
    folder = frames_in(tmp_path / "take", ["1.png", "2.png"])
    with pytest.raises(VideoError, match="frame 2 is wanted, found only 2 frames"):
        list(read_frames(folder, [0, 2]))


def test_damage_is_distinguished_from_remarks(tmp_path):
    """Fails if --strict refuses other videos than those whose earlier caches it refuses."""
    folder = tmp_path / "frames"
    frames_in(folder, [f"img_{n}.png" for n in (1, 2, 4)])
    paths = [odd_videos.make(name, tmp_path) for name in ("h264.mp4", "raw.h264")]
    paths += [odd_videos.truncated(tmp_path, 0.6), odd_videos.edit_list(tmp_path), folder]
    refused = []
    for path in paths:
        damage = damage_among(scan(path).warnings)
        refused.append(bool(damage))
        if damage:
            with pytest.raises(VideoError, match=re.escape("; ".join(damage))):
                scan(path, strict=True)
        else:
            scan(path, strict=True)
    assert refused == [False, False, True, True, True]

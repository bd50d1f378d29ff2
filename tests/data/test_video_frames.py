"""Folders of numbered frames read as videos."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from data.errors import VideoError
from data.video.info import damage_among
from data.video.reading import file_digest, read_frames, scan
from tests.goldens.material import invoke
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
def test_broken_frames_are_damage_not_the_end(tmp_path, content):
    """Fails if one unreadable image loses the video, or shifts the frames and times after it."""
    folder = frames_in(tmp_path / "take", [f"img_{n}.png" for n in range(4)])
    (folder / "img_1.png").write_bytes(content)
    info = scan(folder)
    assert info.times == pytest.approx([0, 2 / 25, 3 / 25])
    assert "damaged: 1 of 4 frames cannot be decoded: img_1.png" in info.warnings
    assert shades(folder) == [0, 2, 3]
    assert [int(frame[0, 0, 0]) for _, frame in read_frames(folder, [2])] == [30]
    with pytest.raises(VideoError, match=r"take: damaged: 1 of 4 .*img_1\.png"):
        scan(folder, strict=True)


def test_only_wanted_frames_are_decoded(tmp_path, monkeypatch):
    """Fails if a few frames of a long folder cost as much as all of them, or others are taken."""
    folder = frames_in(tmp_path / "take", [f"img_{n}.png" for n in range(9)])
    (folder / "img_1.png").write_bytes(b"")
    times = scan(folder).times
    decoded = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *a: decoded.append(decode(*a)) or decoded[-1])
    frames = dict(read_frames(folder, [2, 6], times[[2, 6]]))
    assert {index: int(frame[0, 0, 0]) for index, frame in frames.items()} == {2: 30, 6: 70}
    assert len(decoded) == 2
    (folder / "img_7.png").write_bytes(b"")
    with pytest.raises(VideoError, match=r"img_7\.png: frame cannot be decoded"):
        list(read_frames(folder, [6], times[[6]]))


def test_only_broken_frames_are_an_error(tmp_path):
    """Fails if a folder without a single readable picture becomes a video of no frames."""
    folder = frames_in(tmp_path / "take", ["img_1.png", "img_2.png"])
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(VideoError, match=r"img_1\.png: frame cannot be decoded"):
        scan(folder)


def test_the_command_goes_on_after_a_broken_frame(tmp_path):
    """Fails if a frame folder with an empty picture is lost where a damaged file goes on."""
    folder = frames_in(tmp_path / "videos" / "take", [f"img_{n}.png" for n in range(6)])
    (folder / "img_3.png").write_bytes(b"")
    done = invoke("inspect", folder)
    assert done.exit_code == 0
    assert "damaged: 1 of 6 frames" in done.output
    assert invoke("inspect", "--strict", folder).exit_code == 1


@pytest.mark.parametrize(
    "pattern", ["img_{:05}.png", "frame ({}).png", "{:05}_left.png", "7-{}.PNG"]
)
def test_any_numbering_with_one_number_a_name(tmp_path, pattern):
    """Fails if frames are dropped for the way in which a tool numbers them."""
    folder = frames_in(tmp_path / "take", [pattern.format(n) for n in range(1, 13)])
    assert shades(folder) == list(range(12))


def test_a_picture_stands_for_its_series(tmp_path):
    """Fails if left and right camera in one folder are mixed, or read as single pictures."""
    names = [f"{n}_{side}.png" for side in ("left", "right") for n in range(3)]
    folder = frames_in(tmp_path / "take", names)
    assert shades(folder / "0_left.png") == [0, 1, 2]
    assert shades(folder / "0_right.png") == [3, 4, 5]
    assert file_digest(folder / "0_left.png") == scan(folder / "0_left.png").digest
    assert file_digest(folder / "0_left.png") != file_digest(folder / "0_right.png")


def test_a_folder_that_changes_meanwhile_is_refused(tmp_path, monkeypatch):
    """Fails if the digest of a half copied folder is taken for that of the whole."""
    folder = frames_in(tmp_path / "take", ["img_1.png", "img_2.png"])
    decode = cv2.imdecode

    def slow(*arguments):
        (folder / "img_3.png").write_bytes((folder / "img_1.png").read_bytes())
        return decode(*arguments)

    monkeypatch.setattr(cv2, "imdecode", slow)
    with pytest.raises(VideoError, match="changed while it was read"):
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

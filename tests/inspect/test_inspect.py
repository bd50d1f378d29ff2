"""`pipeline inspect` of single files: reports and exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.cache.folder import content_digest
from pipeline.inspect.command import inspect
from tests.helpers import odd_videos
from tests.helpers.inspected import flow_header, run, write_features, write_flow, write_video


def described(*arguments: object) -> list[dict]:
    result = run(*arguments, "--json")
    return json.loads(result.stdout)


def test_a_video_is_decoded_and_not_believed(tmp_path: Path) -> None:
    """Numbers from the header would hide that frames are missing."""
    video = odd_videos.truncated(tmp_path, 0.6)
    (report,) = described(video)
    assert report["claimed_frames"] == odd_videos.FRAMES
    assert 0 < report["frames"] < odd_videos.FRAMES
    assert any("claims 40 frames" in warning for warning in report["warnings"])
    assert (report["width"], report["height"]) == (odd_videos.WIDTH, odd_videos.HEIGHT)
    assert run(video).exit_code == 0
    assert run(video, "--strict").exit_code == 1


def test_variable_and_constant_rates_are_distinguished(tmp_path: Path) -> None:
    """A variable rate taken for a constant one explains nothing about jumps in the flow."""
    picture = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=30:duration=1"]
    steady = odd_videos.encode(tmp_path / "steady.mkv", [*picture, "-c:v", "libx264"])
    (even,) = described(steady)  # stamps rounded to milliseconds: steps of 33 and 34
    (uneven,) = described(odd_videos.make("vfr.mkv", tmp_path))
    assert even["variable_rate"] is False
    assert even["mean_fps"] == pytest.approx(30, rel=1e-3)  # the ends are rounded too
    assert even["longest_step_s"] > even["shortest_step_s"]
    assert uneven["variable_rate"] is True
    assert uneven["shortest_step_s"] == pytest.approx(1 / odd_videos.RATE, abs=1.1e-3)
    assert uneven["longest_step_s"] == pytest.approx(3 / odd_videos.RATE, abs=1.1e-3)
    assert "variable: 50.0 to 150.0 ms" in run(tmp_path / "vfr.mkv").stdout


def test_rotation_is_reported_with_the_size_as_shown(tmp_path: Path) -> None:
    """A portrait video reported as landscape would be taken for wrongly read."""
    (report,) = described(odd_videos.rotated(tmp_path, 90))
    assert (report["width"], report["height"]) == (odd_videos.HEIGHT, odd_videos.WIDTH)
    assert report["rotation"] == 270  # 90 counter-clockwise
    assert "64×96 px, each frame turned clockwise by 270°" in run(report["path"]).stdout


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "the file is empty"),
        ("text.mp4", b"not a video\n", "a text file, not a video"),
        ("noise.mp4", bytes(range(256)) * 9, "FFmpeg finds no video"),
        ("empty.h5", b"", "not a readable HDF5 file"),
        ("text.h5", b"hello\n", "not a readable HDF5 file"),
        ("empty.csv", b"", "is empty"),
        ("columns.csv", b"a,b\n1,2\n", "expected the columns"),
        ("binary.csv", b"\xff\xfe\x00", "not UTF-8 or UTF-16 text"),
        ("lost.csv", b"video\nnowhere.mp4\n", "no such file"),
        ("text.txt", b"hello\n", "line 1: expected two video names"),
        ("empty.safetensors", b"", "not a readable safetensors file"),
        ("results.json", b"[]", "results.json is damaged"),
    ],
)
def test_what_cannot_be_used_gets_one_line_and_exit_code_1(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    """A traceback, or silence, instead of the reason would leave the user guessing."""
    path = tmp_path / name
    path.write_bytes(content)
    result = run(path)
    assert result.exit_code == 1, result.output
    assert len(result.stdout.splitlines()) == 1
    assert message in result.stdout
    assert message in result.stderr  # The list at the end.
    assert "Traceback" not in result.output
    assert "unexpected" not in result.output


def test_a_stream_that_cannot_be_decoded_is_no_empty_video(tmp_path: Path) -> None:
    """The header of such a file is whole, so that a folder's count would include it."""
    path = odd_videos.make("h264.mov", tmp_path)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz9"))
    for given in (path, tmp_path):
        result = run(given)
        assert result.exit_code == 1
        assert "holds video of a codec that FFmpeg does not know" in result.stdout


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Opening a named pipe would hang forever."""
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", tmp_path):
        result = run(path)
        assert result.exit_code == 1
        assert "found neither" in result.stdout or "neither a file nor a folder" in result.stdout


def test_one_bad_path_does_not_hide_the_others(tmp_path: Path) -> None:
    """Stopping at the first failure would hide the rest."""
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"")
    good = write_video(tmp_path / "good.avi")
    reports = described(bad, good)
    assert [each["kind"] for each in reports] == ["unusable video", "video"]
    assert reports[1]["frames"] == 6


def test_a_flow_cache_says_what_it_holds_and_how_it_was_made(tmp_path: Path) -> None:
    """Ranges, options or origin that are not the file's own would mislead."""
    video = write_video(tmp_path / "a.avi")
    fields = np.zeros((3, 12, 16, 2), np.float32)
    fields[1, ..., 0], fields[1, ..., 1] = 3.0, -4.0
    fields[2, 0, 0, 1] = 90.0  # clipped to 20
    path = write_flow(tmp_path / "a.avi.h5", video, fields, warnings=("odd",))
    (report,) = described(path)
    assert report["kind"] == "flow cache"
    assert report["complete"] is True
    assert report["shape"] == [3, 2, 12, 16]
    assert (report["first_pair"], report["last_pair"]) == ([0, 1], [2, 3])
    values = report["values"]
    # One level of 8 bits is 20/127 px; rounding is off by half of it at most.
    assert values["u_px"] == pytest.approx([0, 3], abs=0.08)
    assert values["v_px"] == pytest.approx([-4, 20], abs=0.08)
    assert values["mean_speed_px"] == pytest.approx((5 + 20 / 192) / 3, abs=0.05)
    assert values["still_fields"] == 1
    assert report["clipped_share"] == pytest.approx(1 / (3 * 2 * 12 * 16))
    assert report["parameters"] == flow_header(video).parameters
    assert report["source_sha256"] == flow_header(video).source_digest
    assert report["content_sha256"] == content_digest(path)
    assert report["warnings"] == ["odd"]
    text = run(path).stdout
    assert "3 fields of 16×12 px, uint8" in text
    assert "1 field zero everywhere" in text
    assert "bound 20" in text
    assert "still there, of the same size" in text


def test_a_feature_cache_says_what_it_holds_and_from_which_weights(tmp_path: Path) -> None:
    """Features of other weights must be seen to be other ones."""
    (report,) = described(write_features(tmp_path / "a.h5", "u" * 64))
    assert report["kind"] == "feature cache"
    assert report["shape"] == [2, 4, 2, 2]
    assert report["values"]["least"] == 0.5
    assert report["values"]["greatest"] == 1.5
    assert report["values"]["mean"] == 1.0
    assert report["values"]["deviation"] == 0.5
    assert report["weights"] == {"rgb": "a" * 64, "flow": "b" * 64, "fusion": "c" * 64}
    assert report["upstream"] == "u" * 64
    assert report["upstream_unchanged"] is None


def test_hdf5_of_another_program_is_reported_as_such(tmp_path: Path) -> None:
    """It is not damaged: deleting it would be wrong advice."""
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["x"] = np.arange(3)
    result = run(tmp_path / "theirs.h5")
    assert result.exit_code == 1
    assert "an HDF5 file, but not a cache of this program" in result.stdout


def test_lists_of_videos_are_followed(tmp_path: Path) -> None:
    """What extract-flow takes, inspect must take."""
    write_video(tmp_path / "videos/a.avi")
    (tmp_path / "list.txt").write_text("videos/a.avi\n")
    (tmp_path / "list.csv").write_text("video\nvideos/a.avi\n")
    reports = described(f"@{tmp_path / 'list.txt'}", tmp_path / "list.csv")
    assert [(each["kind"], each["frames"]) for each in reports] == [("video", 6)] * 2


def test_a_folder_of_frames_is_one_video(tmp_path: Path) -> None:
    """It would be reported as a folder without anything."""
    import cv2

    for number in range(3):
        cv2.imwrite(str(tmp_path / f"img_{number:05d}.png"), np.zeros((20, 30, 3), np.uint8))
    (report,) = described(tmp_path)
    assert report["kind"] == "folder of frames"
    assert (report["frames"], report["width"], report["height"]) == (3, 30, 20)


def test_the_function_finds_what_the_command_shows(tmp_path: Path) -> None:
    """Notebooks use the function; it must not need the command line."""
    (report,) = inspect([write_flow(tmp_path / "a.h5")])
    assert report.facts["shape"] == [2, 2, 12, 16]
    assert report.all_problems == []

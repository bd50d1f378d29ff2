"""`pipeline inspect` as a user runs it: what it says, and which exit code it gives."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.cache.folder import content_digest
from data.files import temporary_name
from pipeline.inspect.command import inspect
from tests.helpers import odd_videos
from tests.helpers.inspected import flow_header, run, write_features, write_flow, write_video


def described(*arguments: object) -> list[dict]:
    result = run(*arguments, "--json")
    return json.loads(result.stdout)


def test_a_video_is_decoded_and_not_believed(tmp_path: Path) -> None:
    """Numbers from the header would hide that frames are missing."""
    video = odd_videos.truncated(tmp_path, 0.6)
    (found,) = described(video)
    assert found["claimed_frames"] == odd_videos.FRAMES
    assert 0 < found["frames"] < odd_videos.FRAMES
    assert any("claims 40 frames" in warning for warning in found["warnings"])
    assert (found["width"], found["height"]) == (odd_videos.WIDTH, odd_videos.HEIGHT)
    assert run(video).exit_code == 0
    assert run(video, "--strict").exit_code == 1


def test_variable_and_constant_rates_are_told_apart(tmp_path: Path) -> None:
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


def test_rotation_is_told_with_the_size_as_shown(tmp_path: Path) -> None:
    """A portrait video reported as landscape would be taken for wrongly read."""
    (found,) = described(odd_videos.rotated(tmp_path, 90))
    assert (found["width"], found["height"]) == (odd_videos.HEIGHT, odd_videos.WIDTH)
    assert found["rotation"] == 270  # 90 counter-clockwise
    assert "64×96 px, each frame turned clockwise by 270°" in run(found["path"]).stdout


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.mp4", b"", "the file is empty"),
        ("text.mp4", b"not a video\n", "a text file, not a video"),
        ("noise.mp4", bytes(range(256)) * 9, "OpenCV finds no video"),
        ("empty.h5", b"", "not a readable HDF5 file"),
        ("text.h5", b"hello\n", "not a readable HDF5 file"),
        ("empty.csv", b"", "is empty"),
        ("columns.csv", b"a,b\n1,2\n", "expected the columns"),
        ("binary.csv", b"\xff\xfe\x00", "not UTF-8 text"),
        ("lost.csv", b"video\nnowhere.mp4\n", "no such file"),
        ("text.txt", b"hello\n", "line 1: expected two video names"),
        ("empty.safetensors", b"", "not a readable safetensors file"),
        ("results.json", b"[]", "results.json is damaged"),
    ],
)
def test_what_cannot_be_used_gets_one_line_and_exit_code_1(
    name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    """A traceback, or silence, in place of the reason would leave the user guessing."""
    path = tmp_path / name
    path.write_bytes(content)
    result = run(path)
    assert result.exit_code == 1, result.output
    assert len(result.stdout.splitlines()) == 1
    assert told in result.stdout
    assert told in result.stderr  # the list at the end
    assert "Traceback" not in result.output
    assert "unexpected" not in result.output


def test_a_stream_that_cannot_be_decoded_is_no_empty_video(tmp_path: Path) -> None:
    """The header of such a file is whole, so that a folder's count would include it."""
    picture = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=20:duration=0.2"]
    path = odd_videos.encode(tmp_path / "av1.mp4", [*picture, "-c:v", "libaom-av1"])
    for given in (path, tmp_path):
        result = run(given)
        if result.exit_code == 0:
            pytest.skip("this OpenCV decodes AV1")
        assert "holds video (codec AV01, 4 frames claimed)" in result.stdout
        assert "this OpenCV cannot decode it" in result.stdout


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Opening a named pipe would hang for ever."""
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", tmp_path):
        result = run(path)
        assert result.exit_code == 1
        assert "found neither" in result.stdout or "neither a file nor a folder" in result.stdout


def test_an_empty_folder_is_a_failure_and_a_missing_path_a_usage_error(tmp_path: Path) -> None:
    """Exit code 0 for a mistyped name would let a script go on."""
    empty = run(tmp_path)
    assert empty.exit_code == 1
    assert "holds no videos" in empty.stdout
    missing = run(tmp_path / "nothing", tmp_path)
    assert missing.exit_code == 2
    assert missing.stdout == ""
    assert "no such file or folder" in missing.stderr


def test_one_bad_path_does_not_hide_the_others(tmp_path: Path) -> None:
    """Stopping at the first failure would tell nothing about the rest."""
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"")
    good = write_video(tmp_path / "good.avi")
    found = described(bad, good)
    assert [each["kind"] for each in found] == ["unusable video", "video"]
    assert found[1]["frames"] == 6


def test_a_flow_cache_says_what_it_holds_and_how_it_was_made(tmp_path: Path) -> None:
    """Ranges, options or origin that are not the file's own would mislead."""
    video = write_video(tmp_path / "a.avi")
    fields = np.zeros((3, 12, 16, 2), np.float32)
    fields[1, ..., 0], fields[1, ..., 1] = 3.0, -4.0
    fields[2, 0, 0, 1] = 90.0  # clipped to 20
    path = write_flow(tmp_path / "a.avi.h5", video, fields, warnings=("odd",))
    (found,) = described(path)
    assert found["kind"] == "flow cache"
    assert found["complete"] is True
    assert found["shape"] == [3, 2, 12, 16]
    assert (found["first_pair"], found["last_pair"]) == ([0, 1], [2, 3])
    values = found["values"]
    # One level of 8 bits is 20/127 px; rounding is off by half of it at most.
    assert values["u_px"] == pytest.approx([0, 3], abs=0.08)
    assert values["v_px"] == pytest.approx([-4, 20], abs=0.08)
    assert values["mean_speed_px"] == pytest.approx((5 + 20 / 192) / 3, abs=0.05)
    assert values["still_fields"] == 1
    assert found["clipped_share"] == pytest.approx(1 / (3 * 2 * 12 * 16))
    assert found["parameters"] == flow_header(video).parameters
    assert found["source_sha256"] == flow_header(video).source_digest
    assert found["content_sha256"] == content_digest(path)
    assert found["warnings"] == ["odd"]
    text = run(path).stdout
    assert "3 fields of 16×12 px, uint8" in text
    assert "1 field zero everywhere" in text
    assert "bound 20" in text
    assert "still there, of the same size" in text


def test_a_feature_cache_says_what_it_holds_and_from_which_weights(tmp_path: Path) -> None:
    """Features of other weights must be seen to be other ones."""
    (found,) = described(write_features(tmp_path / "a.h5", "u" * 64))
    assert found["kind"] == "feature cache"
    assert found["shape"] == [2, 4, 2, 2]
    assert found["values"]["least"] == 0.5
    assert found["values"]["greatest"] == 1.5
    assert found["values"]["mean"] == 1.0
    assert found["values"]["deviation"] == 0.5
    assert found["weights"] == {"rgb": "a" * 64, "flow": "b" * 64, "fusion": "c" * 64}
    assert found["upstream"] == "u" * 64
    assert found["upstream_unchanged"] is None


def test_hdf5_of_another_program_is_told_as_such(tmp_path: Path) -> None:
    """It is not damaged: deleting it would be wrong advice."""
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["x"] = np.arange(3)
    result = run(tmp_path / "theirs.h5")
    assert result.exit_code == 1
    assert "an HDF5 file, but not a cache of this program" in result.stdout


def test_a_folder_is_summed_up_and_its_mixture_told(tmp_path: Path) -> None:
    """A cache made with other options among hundreds would only be noticed when training stops."""
    write_video(tmp_path / "videos/a.avi")
    for name in ("a", "b", "c"):
        write_flow(tmp_path / f"flow/{name}.avi.h5")
    other = {"flow": {"bound": 15.0, "dtype": "uint8", "short_side": 64}, "engine": "OpenCV 5"}
    write_flow(tmp_path / "flow/d.avi.h5", parameters=other)
    (tmp_path / "pairs.csv").write_text("better,worse\na,b\nb,c\n")
    (found,) = described(tmp_path)
    assert found["videos"]["count"] == 1
    caches = found["flow_caches"]
    assert (caches["count"], caches["rows"]) == (4, 8)
    assert caches["bytes"] == sum(p.stat().st_size for p in (tmp_path / "flow").iterdir())
    groups = {group["parameters.flow.bound"]: group["count"] for group in caches["groups"]}
    assert groups == {"20": 3, "15": 1}
    assert caches["common"]["parameters.flow.short_side"] == "64"
    assert found["judgements"]["pairs.csv"].startswith("2 pairs of 3 videos")
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "made in 2 ways (bound, " in result.stdout
    assert "flow/a.avi.h5: flow cache" not in result.stdout


def test_caches_that_agree_are_no_mixture(tmp_path: Path) -> None:
    """A false alarm on every folder would teach people to ignore it."""
    for name in ("a", "b"):
        write_flow(tmp_path / f"{name}.h5")
    (found,) = described(tmp_path)
    assert found["warnings"] == []
    assert len(found["flow_caches"]["groups"]) == 1


@pytest.mark.parametrize("flag", ["--each", "-v"])
def test_each_gives_every_file_a_line(flag: str, tmp_path: Path) -> None:
    """Without it nobody finds the one odd file among many."""
    write_video(tmp_path / "a.avi")
    write_flow(tmp_path / "a.avi.h5")
    text = run(tmp_path, flag).stdout
    assert "a.avi: video, 6 frames of 80×64 px, 25 fps, constant" in text
    assert "a.avi.h5: flow cache, complete, 2 fields of 16×12 px" in text
    assert "as the headers claim" not in text


def test_damaged_files_of_a_folder_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    """One damaged cache must neither hide the others nor be hidden among them."""
    for number in range(9):  # enough for several workers
        write_flow(tmp_path / f"{number}.h5")
    content = (tmp_path / "3.h5").read_bytes()
    (tmp_path / "3.h5").write_bytes(content[: len(content) // 2])
    result = run(tmp_path, "-j", 2)
    assert result.exit_code == 1
    assert "8 flow caches" in result.stdout
    assert "3.h5: unusable cache: not a readable HDF5 file" in result.stdout
    assert "3.h5" in result.stderr
    assert "4.h5" not in result.output


def test_unfinished_caches_are_told(tmp_path: Path) -> None:
    """The hidden temporary of a killed process takes space that nobody sees."""
    write_flow(tmp_path / "a.h5")
    (tmp_path / temporary_name()).write_bytes(b"x" * 100)
    (found,) = described(tmp_path)
    assert found["unfinished"] == {"count": 1, "bytes": 100}
    assert "1 unfinished file (100 B" in found["warnings"][0]


def test_a_folder_that_holds_itself_ends(tmp_path: Path) -> None:
    """A link to a folder above would be followed for ever."""
    write_flow(tmp_path / "sub/a.h5")
    (tmp_path / "sub/loop").symlink_to(tmp_path)
    (found,) = described(tmp_path)
    assert found["flow_caches"]["count"] == 1


def test_lists_of_videos_are_followed(tmp_path: Path) -> None:
    """What extract-flow takes, inspect must take."""
    write_video(tmp_path / "videos/a.avi")
    (tmp_path / "list.txt").write_text("videos/a.avi\n")
    (tmp_path / "list.csv").write_text("video\nvideos/a.avi\n")
    found = described(f"@{tmp_path / 'list.txt'}", tmp_path / "list.csv")
    assert [(each["kind"], each["frames"]) for each in found] == [("video", 6)] * 2


def test_folders_may_be_named_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths with dots, and the present folder, are what people type."""
    write_video(tmp_path / "videos/a.avi")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for given in ("../videos", "../elsewhere/../videos"):
        assert "1 video, " in run(given).stdout
    monkeypatch.chdir(tmp_path / "videos")
    assert "1 video, " in run(".").stdout


def test_a_folder_of_frames_is_one_video(tmp_path: Path) -> None:
    """It would be reported as a folder without anything."""
    import cv2

    for number in range(3):
        cv2.imwrite(str(tmp_path / f"img_{number:05d}.png"), np.zeros((20, 30, 3), np.uint8))
    (found,) = described(tmp_path)
    assert found["kind"] == "folder of frames"
    assert (found["frames"], found["width"], found["height"]) == (3, 30, 20)


def test_the_function_finds_what_the_command_shows(tmp_path: Path) -> None:
    """Notebooks use the function; it must not need the command line."""
    (report,) = inspect([write_flow(tmp_path / "a.h5")])
    assert report.facts["shape"] == [2, 2, 12, 16]
    assert report.all_problems == []


def test_logs_stay_off_stdout(tmp_path: Path) -> None:
    """A progress bar or an error in the JSON document would break whoever reads it."""
    for number in range(9):
        write_flow(tmp_path / f"{number}.h5")
    (tmp_path / "9.h5").write_bytes(b"")
    result = run(tmp_path, "--json", "--each")
    assert result.exit_code == 1
    (found,) = json.loads(result.stdout)
    assert len(found["files"]) == 10

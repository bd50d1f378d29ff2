"""`pipeline inspect --verify`: whether caches still hold what was written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.cache.folder import content_digest
from tests.helpers.inspected import run, write_features, write_flow, write_video


def described(*arguments: object) -> list[dict]:
    return json.loads(run(*arguments, "--verify", "--json").stdout)


def flip_stored_bytes(path: Path) -> None:
    """Change bytes of the last field's chunk, where no header is."""
    with h5py.File(path) as file:
        chunk = file["flow"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    for place in range(chunk.byte_offset + 2, chunk.byte_offset + chunk.size):
        content[place] ^= 0xFF
    path.write_bytes(content)


def test_an_untouched_cache_passes(tmp_path: Path) -> None:
    """A false alarm would have good caches thrown away."""
    video = write_video(tmp_path / "a.avi")
    path = write_flow(tmp_path / "a.avi.h5", video)
    (report,) = described(path)
    assert report["verified"] == {"content": True, "source": True}
    assert report["problems"] == []
    assert run(path, "--verify").exit_code == 0


def test_a_changed_value_is_found_only_by_reading_all(tmp_path: Path) -> None:
    """The header still says complete: nothing but the digest can tell."""
    path = write_flow(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["flow"][1, 0, 0, 0] = 7
    assert run(path).exit_code == 0
    result = run(path, "--verify")
    assert result.exit_code == 1
    assert "content differs from its digest" in result.stderr


def test_flipped_bytes_are_one_clear_line(tmp_path: Path) -> None:
    """HDF5's own message about a filter does not say what to do."""
    path = write_flow(tmp_path / "a.h5")
    flip_stored_bytes(path)
    result = run(path, "--verify")
    assert result.exit_code == 1
    assert "field 1 cannot be read; delete the file and run extract-flow" in result.stdout
    assert len(result.stdout.splitlines()) == 1


def test_an_added_dataset_is_found(tmp_path: Path) -> None:
    """The file would hold what no stage wrote."""
    path = write_flow(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["extra"] = np.arange(3)
    assert run(path, "--verify").exit_code == 1


def test_a_changed_video_makes_its_cache_stale(tmp_path: Path) -> None:
    """Flow of a video that was cut again since would be trained on."""
    video = write_video(tmp_path / "a.avi")
    path = write_flow(tmp_path / "a.avi.h5", video)
    content = bytearray(video.read_bytes())
    content[-1] ^= 1  # the size stays
    video.write_bytes(content)
    assert run(path).exit_code == 0
    result = run(path, "--verify")
    assert result.exit_code == 1
    assert f"stale: {video} has changed since" in result.stderr


def test_a_video_of_another_size_is_reported_without_verifying(tmp_path: Path) -> None:
    """Comparing sizes costs nothing."""
    video = write_video(tmp_path / "a.avi")
    path = write_flow(tmp_path / "a.avi.h5", video)
    with video.open("ab") as file:
        file.write(b"more")
    result = run(path)
    assert result.exit_code == 0
    assert "stale: the source video has changed since" in result.stdout


def test_a_video_that_is_gone_is_no_fault(tmp_path: Path) -> None:
    """Caches are copied to machines without the videos."""
    path = write_flow(tmp_path / "a.h5")
    (report,) = described(path)
    assert report["verified"] == {"content": True, "source": None}
    assert run(path, "--verify").exit_code == 0
    assert "no longer there" in run(path).stdout


def test_videos_that_were_moved_are_found_again(tmp_path: Path) -> None:
    """Caches hold absolute paths, which another machine does not have."""
    video = write_video(tmp_path / "here/[a] 1.avi")
    path = write_flow(tmp_path / "flow/a.avi.h5", video)
    (tmp_path / "there/deep").mkdir(parents=True)
    # Another video of the same name and size lies before it.
    decoy = tmp_path / "there/[a] 1.avi"
    decoy.write_bytes(bytes(video.stat().st_size))
    moved = video.rename(tmp_path / "there/deep/[a] 1.avi")
    for place in (tmp_path / "there", moved):
        result = run(path, "--verify", "--videos", place)
        assert result.exit_code == 0, result.output
        assert f"now {moved}, of the same size" in result.stdout
        assert "source video is unchanged" in result.stdout
    drawn = run(path, "--image", tmp_path / "a.png", "--videos", tmp_path / "there")
    assert "without the video's frame" not in drawn.stdout
    assert run(path, "--videos", tmp_path / "nowhere").exit_code == 2


def test_features_are_compared_with_the_flow_they_were_made_from(tmp_path: Path) -> None:
    """Features of older flow mixed with newer ones would spoil a training set unseen."""
    flow = write_flow(tmp_path / "flow/a.avi.h5")
    features = write_features(tmp_path / "features/a.avi.h5", content_digest(flow))
    same = run(features, "--flow", tmp_path / "flow")
    assert same.exit_code == 0
    assert "unchanged in" in same.stdout
    assert "not compared (name its folder by --flow)" in run(features).stdout
    os.remove(flow)
    write_flow(flow, fields=np.ones((2, 12, 16, 2), np.float32))
    for arguments in ((features, "--flow", tmp_path / "flow"), (tmp_path,)):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "stale: made from other flow than" in result.stderr


def test_flow_of_other_videos_is_not_taken_for_changed(tmp_path: Path) -> None:
    """An incomplete flow folder would condemn good features."""
    write_flow(tmp_path / "flow/b.h5", source_digest="1" * 64)
    features = write_features(tmp_path / "features/a.h5", "u" * 64)
    result = run(features, "--flow", tmp_path / "flow")
    assert result.exit_code == 0
    assert "none of the flow caches given is of this video" in result.stdout


def test_a_folder_says_how_many_were_verified(tmp_path: Path) -> None:
    """A silent success looks like a check that was skipped."""
    video = write_video(tmp_path / "a.avi")
    write_flow(tmp_path / "flow/a.avi.h5", video)
    write_flow(tmp_path / "flow/b.avi.h5")
    result = run(tmp_path / "flow", "--verify")
    assert "2 of 2 hold what was written, 1 of 2 source videos are present and unchanged" in (
        result.stdout
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cache_that_cannot_be_checked_is_a_problem(jobs: int, tmp_path: Path) -> None:
    """A check that fails in a worker must not look like a check that passed."""
    for number in range(9):  # Enough for several workers.
        write_flow(tmp_path / f"{number}.h5")
    with h5py.File(tmp_path / "3.h5", "a") as file:
        del file["frame_time"]
        # More time stamps than fit into memory.
        file.create_dataset("frame_time", (1 << 46,), "f8", chunks=(1 << 16,))
    result = run(tmp_path, "--verify", "-j", jobs)
    assert result.exit_code == 1
    assert "8 of 8 hold what was written" in result.stdout
    assert "3.h5" in result.stderr


def test_a_source_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """Whether the cache is stale stays unknown, which is no answer."""
    video = write_video(tmp_path / "a.avi")
    path = write_flow(tmp_path / "flow/a.avi.h5", video)
    video.unlink()
    video.mkdir()  # A folder without frames.
    result = run(tmp_path / "flow", "--verify")
    assert result.exit_code == 1
    assert "source video cannot be read" in result.stderr
    assert run(path).exit_code == 0


def test_changed_attributes_are_a_line_and_no_traceback(tmp_path: Path) -> None:
    """Any byte of a file can be damaged, attributes too."""
    for name, change in (
        ("digest", lambda file: file.attrs.pop("content_digest")),
        ("options", lambda file: file.attrs.__setitem__("parameters", "[]")),
        ("json", lambda file: file.attrs.__setitem__("parameters", '{"a":')),
        ("bound", lambda file: file.attrs.__setitem__("parameters", "{}")),
        ("flow", lambda file: file.pop("flow")),
        ("schema", lambda file: file.attrs.__setitem__("schema", 99)),
        ("unfinished", lambda file: file.attrs.__setitem__("complete", False)),
    ):
        path = write_flow(tmp_path / f"{name}.h5")
        with h5py.File(path, "a") as file:
            change(file)
        result = run(path, "--verify")
        assert result.exit_code == 1, (name, result.output)
        assert "unusable cache: " in result.stdout, (name, result.output)
        assert "unexpected" not in result.output, (name, result.output)


def test_a_cache_that_cannot_be_checked_is_a_problem_of_its_folder(tmp_path: Path) -> None:
    """One of ten caches failed in a worker: "verified: 9 of 9", exit code 0."""
    for number in range(10):
        write_flow(tmp_path / f"{number}.h5")
    with h5py.File(tmp_path / "3.h5", "r+") as file:
        file.attrs["weights"] = "[1]"
    result = run(tmp_path, "--verify")
    assert result.exit_code == 1
    assert "not read, and so not checked: 1 cache" in result.stdout
    assert "3.h5: the cache's header is damaged" in result.stderr

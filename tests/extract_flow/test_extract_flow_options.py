"""Options and places that users of extract-flow combine oddly: a clear line, or the right thing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from data.cache.flow import open_flow
from data.options import FlowOptions
from pipeline.runner import files
from tests.extract_flow.test_extract_flow import SMALL, run, tree, write_video
from tests.helpers import odd_videos


def fields(path: Path) -> dict[tuple[int, int], bytes]:
    with open_flow(path) as flow:
        pairs = zip(flow.frame_index.tolist(), flow.next_index.tolist(), strict=True)
        return {pair: flow.read(row).tobytes() for row, pair in enumerate(pairs)}


def test_plans_agree_on_the_pairs_they_share(tmp_path: Path) -> None:
    """A field depends on which plan asked for it, or on its neighbours."""
    video = write_video(tmp_path / "a.avi", 14)
    dense = ["--plan", "dense", "--stride", "3"]
    for name, more in (("segments", []), ("dense", dense)):
        assert run(video, "-o", tmp_path / name, *SMALL, *more).exit_code == 0
    segments, dense_ones = (fields(tmp_path / n / "a.avi.h5") for n in ("segments", "dense"))
    shared = segments.keys() & dense_ones.keys()
    assert len(shared) >= 4
    assert segments.keys() != dense_ones.keys()
    assert all(segments[pair] == dense_ones[pair] for pair in shared)


def test_size_and_short_side_exclude_each_other(tmp_path: Path) -> None:
    """One of two contradicting flags wins without a word."""
    video = write_video(tmp_path / "a.avi")
    found = run(video, "-o", tmp_path / "flow", *SMALL, "--size", "32x32", "--short-side", "24")
    assert found.exit_code == 2
    assert "exclude each other" in found.stderr


def test_full_size_can_be_asked_for() -> None:
    """There is no way to say on the command line that frames are not to be shrunk."""
    assert FlowOptions(short_side=0) == FlowOptions(short_side=None)
    assert FlowOptions(short_side=0).target_size(1920, 1080) == (1920, 1080)


def test_one_size_has_one_spelling() -> None:
    """Caches made with --size 340X256 are stale for --size 340x256."""
    assert FlowOptions(size=" 340 X 256") == FlowOptions(size="340x256")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--stride", "3"], "--stride has no effect on --plan segments"),
        (["--plan", "dense"], "--segments has no effect on --plan dense"),
        (["--fps", "60"], "--fps 60 asked, the video has 25: all its frames are taken"),
        (["--stack-length", "99"], "10 frames are fewer than a stack of 99 fields needs"),
    ],
)
def test_options_without_effect_are_told(tmp_path: Path, more: list[str], told: str) -> None:
    """A flag does nothing, and nobody says so."""
    video = write_video(tmp_path / "a.avi")
    found = run(video, "-o", tmp_path / "flow", *SMALL, *more)
    assert found.exit_code == 0
    assert told in found.stderr


def test_thinned_to_nothing_is_one_clear_line(tmp_path: Path) -> None:
    """--fps or --frame-step that leave one frame read as a video of one frame."""
    video = write_video(tmp_path / "a.avi")
    found = run(video, "-o", tmp_path / "flow", *SMALL, "--frame-step", "100")
    assert found.exit_code == 1
    assert "found 10; --fps and --frame-step leave 1 of them" in found.stderr


@pytest.mark.parametrize("shape", [(48, 1), (1, 48), (600, 20)])
def test_narrow_frames_are_one_clear_line(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Frames too narrow for TV-L1, as they are or once shrunk, end as an error of the engine."""
    folder = tmp_path / "videos" / "narrow"
    folder.mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for number in range(4):
        cv2.imwrite(str(folder / f"img_{number:05}.png"), np.roll(picture, number, axis=0))
    write_video(tmp_path / "videos/good.avi")
    found = run(tmp_path / "videos", "-o", tmp_path / "flow", *SMALL, "--short-side", "16")
    wide_enough = min(shape) >= 16
    assert found.exit_code == (0 if wide_enough else 1)
    if not wide_enough:
        assert f"at least 16x16 px, found {shape[1]}x{shape[0]}; enlarge them" in found.stderr
    assert (tmp_path / "flow/good.avi.h5").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are UTF-8 elsewhere")
def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A name in an old encoding crashes OpenCV, and with it the whole run."""
    (tmp_path / "videos").mkdir()
    name = os.fsencode(tmp_path / "videos") + b"/caf\xe9.avi"
    shutil.copyfile(write_video(tmp_path / "a.avi"), name)
    for _ in range(2):
        found = run(tmp_path / "videos", "-o", tmp_path / "flow", *SMALL)
        assert found.exit_code == 0, found.stderr
    assert sorted(os.listdir(os.fsencode(tmp_path / "flow"))) == [b"caf\xe9.avi.h5"]
    assert fields(tmp_path / "flow" / os.fsdecode(b"caf\xe9.avi.h5"))
    assert run(tmp_path / "videos", "-o", tmp_path / "other", *SMALL, "--dry-run").exit_code == 0


def test_a_disk_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 crashes the process on a full disk, or a half-written cache stays."""
    free = iter([10**9] * 4 + [10**6] * 100)

    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(total=10**9, free=next(free))

    monkeypatch.setattr(files.shutil, "disk_usage", usage)
    write_video(tmp_path / "videos/a.avi")
    found = run(tmp_path / "videos", "-o", tmp_path / "flow", *SMALL, "-j", "1")
    assert found.exit_code == 1
    assert "the disk is full (1.0 MB free" in found.stderr
    assert tree(tmp_path / "flow") == {}
    found = run(tmp_path / "videos", "-o", tmp_path / "flow", *SMALL, "-j", "1")
    assert found.exit_code == 2  # told at once, not once a video


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    """Every video is decoded before the first one finds that nothing can be written."""
    video = write_video(tmp_path / "a.avi")
    found = run(video, "-o", video / "flow", *SMALL)
    assert found.exit_code == 2
    assert "cannot be written to" in found.stderr


def test_nothing_to_do_is_said(tmp_path: Path) -> None:
    """A dry run over finished caches shows an unknown time for no pairs."""
    given = [write_video(tmp_path / "a.avi"), "-o", tmp_path / "flow", *SMALL]
    assert run(*given).exit_code == 0
    assert "1 done, 0 to do" in run(*given, "--dry-run").stdout


def test_strict_refuses_earlier_flow_of_a_damaged_video(tmp_path: Path) -> None:
    """A second, stricter run counts what the first one only warned of as done."""
    given = [odd_videos.truncated(tmp_path, 0.6), "-o", tmp_path / "flow", *SMALL]
    assert run(*given).exit_code == 0
    for _ in range(2):
        found = run(*given, "--strict")
        assert found.exit_code == 1
        assert "the header claims" in found.stderr
    assert run(*given).exit_code == 0


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own words for a wrong number, in the middle of a run, help nobody."""
    monkeypatch.setattr("model.tvl1.cuda.runtime.available", lambda: (True, ""))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    write_video(tmp_path / "a.avi")
    given = [tmp_path / "a.avi", "-o", tmp_path / "flow", "--engine", "auto", "--device", "cuda:5"]
    found = run(*given)
    assert found.exit_code == 2
    assert "--device cuda:5: this machine shows 2 CUDA devices" in found.stderr
    assert not (tmp_path / "flow").exists()

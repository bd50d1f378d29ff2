"""extract-flow as a user runs it: what is in the caches, and what happens when something is odd."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from data.cache.flow import open_flow, quantise
from data.cache.folder import cache_problems, read_header
from data.options import FlowOptions, PlanOptions
from data.sources import find_sources
from data.video.reading import read_frames
from model.tvl1 import opencv
from model.tvl1.options import TVL1Options
from pipeline.cli import cli
from pipeline.extract_flow.command import command, extract_flow
from pipeline.extract_flow.fields import prepare, read_pairs
from pipeline.extract_flow.settings import FlowSettings
from pipeline.runner.jobs import JobOptions
from pipeline.runner.stage import StageOptions

# One iteration of everything: these tests are about files, not about the flow's quality.
FAST = ["--scales", "2", "--warps", "1", "--outer", "1", "--inner", "2"]
FAST_TVL1 = TVL1Options(scales=2, warps=1, outer=1, inner=2)
SMALL = ["--segments", "2", "--candidates", "1", "--stack-length", "3", "--engine", "opencv", *FAST]


def write_video(path: Path, frames: int = 10, seed: int = 0, still: tuple[int, ...] = ()) -> Path:
    """Write a moving texture; the frames numbered in `still` repeat the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (9, 9), 2)
    # PNG in AVI is lossless: repeated frames decode to equal pixels.
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"png "), 25, (64, 48))
    assert writer.isOpened()
    shift = 0
    for number in range(frames):
        shift += number not in still
        writer.write(np.roll(texture, shift, axis=1)[:48, :64])
    writer.release()
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["extract-flow", *map(str, arguments)])


def arrays(path: Path) -> dict[str, bytes]:
    with h5py.File(path) as file:
        return {name: file[name][()].tobytes() for name in file}


def tree(folder: Path) -> dict[str, bytes]:
    """All files but the one that holds how long the runs took."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_fields_are_tvl1_of_the_prepared_frames(tmp_path: Path) -> None:
    """The cache holds the flow of other frames, another direction, or swapped channels."""
    video = write_video(tmp_path / "a.avi")
    assert run(video, "-o", tmp_path / "flow", *SMALL).exit_code == 0
    frames = {index: prepare(frame, (64, 48)) for index, frame in read_frames(video, range(10))}
    with open_flow(tmp_path / "flow/a.avi.h5") as flow:
        pairs = np.stack([flow.frame_index, flow.next_index], axis=1)
        assert (pairs[:, 1] == pairs[:, 0] + 1).all()
        assert len({*map(tuple, pairs.tolist())}) == len(pairs)
        for row, (first, second) in enumerate(pairs.tolist()):
            wanted = opencv.calc(frames[first], frames[second], FAST_TVL1)
            np.testing.assert_array_equal(flow.read(row), quantise(wanted.transpose(2, 0, 1), 20.0))
        assert flow.time.tolist() == pytest.approx((flow.frame_index / 25).tolist())
        assert len(flow.frame_time) == 10


def test_repeated_frames_are_exactly_zero(tmp_path: Path) -> None:
    """Frozen frames read as motion, or cost as much as moving ones."""
    video = write_video(tmp_path / "a.avi", still=(4, 5))
    dense = ["--plan", "dense", "--stride", "1", "--stack-length", "1"]
    assert run(video, "-o", tmp_path / "flow", *SMALL, *dense).exit_code == 0
    with open_flow(tmp_path / "flow/a.avi.h5") as flow:
        still = [row for row in range(len(flow)) if (flow.read(row) == 128).all()]
        assert flow.frame_index[still].tolist() == [3, 4]


def test_numba_goes_on_with_opencvs_caches(tmp_path: Path) -> None:
    """A bit-identical engine recomputes or refuses finished caches, or differs after all."""
    video = write_video(tmp_path / "a.avi")
    plan = PlanOptions(segments=2, candidates=1, stack_length=3)
    for engine in ("opencv", "numba"):
        settings = FlowSettings.resolved(plan=plan, tvl1=FAST_TVL1, engine=engine)
        options = StageOptions(output=tmp_path / engine, jobs=JobOptions(jobs=1))
        extract_flow(find_sources([video]), settings, options)
    assert arrays(tmp_path / "opencv/a.avi.h5") == arrays(tmp_path / "numba/a.avi.h5")
    found = run(video, "-o", tmp_path / "opencv", *SMALL, "--engine", "numba")
    assert found.exit_code == 0
    assert "1 of them already done" in found.stdout


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_do_not_change_the_files(tmp_path: Path, backend: str) -> None:
    """Results depend on how many workers there were, or on which finished first."""
    for number, frames in enumerate((14, 5, 4)):
        write_video(tmp_path / f"videos/{number}.avi", frames, number)
    everything = [tmp_path / "videos", *SMALL, "--segments", "4"]
    assert run(*everything, "-o", tmp_path / "one", "-j", "1").exit_code == 0
    found = run(*everything, "-o", tmp_path / "two", "-j", "2", "--backend", backend)
    assert found.exit_code == 0, found.stderr
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    alone = [tmp_path / "videos/0.avi", *SMALL, "--segments", "4"]
    assert run(*alone, "-o", tmp_path / "three", "-j", "2", "--backend", backend).exit_code == 0
    assert tree(tmp_path / "three")["0.avi.h5"] == tree(tmp_path / "one")["0.avi.h5"]


def test_finished_caches_are_kept_and_new_videos_added(tmp_path: Path) -> None:
    """Days of flow are computed again because one video was added."""
    write_video(tmp_path / "videos/a.avi")
    assert run(tmp_path / "videos", "-o", tmp_path / "flow", *SMALL).exit_code == 0
    before = (tmp_path / "flow/a.avi.h5").stat()
    write_video(tmp_path / "videos/b.avi", seed=1)
    found = run(tmp_path / "videos", "-o", tmp_path / "flow", *SMALL)
    assert found.exit_code == 0
    assert "2 videos, 1 of them already done" in found.stdout
    after = (tmp_path / "flow/a.avi.h5").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["--bound", "15"], "1 cache (a.avi) used bound 20, you asked 15"),
        (["--lambda", "0.1"], "used lam 0.15, you asked 0.1"),
        (["--size", "32x32"], "used size none, you asked 32x32"),
        (["--stack-length", "2"], "used stack length 3, you asked 2"),
        (["--dtype", "float16"], "used dtype uint8, you asked float16"),
    ],
)
def test_changed_options_are_told_and_change_nothing(
    tmp_path: Path, changed: list[str], told: str
) -> None:
    """An option has no effect on old caches in silence, or old caches vanish in silence."""
    write_video(tmp_path / "videos/a.avi")
    given = [tmp_path / "videos", "-o", tmp_path / "flow", *SMALL]
    assert run(*given).exit_code == 0
    before = tree(tmp_path / "flow")
    found = run(*given, *changed)
    assert found.exit_code == 2
    assert told in found.stderr
    assert "pass --overwrite or another --output" in found.stderr
    assert tree(tmp_path / "flow") == before
    assert run(*given, *changed, "--overwrite").exit_code == 0
    assert tree(tmp_path / "flow") != before


def test_options_that_change_nothing_are_no_difference(tmp_path: Path) -> None:
    """--stride, which plan segments does not look at, makes finished caches stale."""
    video = write_video(tmp_path / "a.avi")
    given = [video, "-o", tmp_path / "flow", *SMALL]
    assert run(*given).exit_code == 0
    assert run(*given, "--stride", "7", "-j", "2").exit_code == 0


def test_changed_video_of_the_same_name_is_told(tmp_path: Path) -> None:
    """A new recording under an old name keeps the old recording's flow."""
    given = [tmp_path / "videos", "-o", tmp_path / "flow", *SMALL]
    write_video(tmp_path / "videos/a.avi")
    assert run(*given).exit_code == 0
    write_video(tmp_path / "videos/a.avi", seed=1)
    found = run(*given)
    assert found.exit_code == 2
    assert "a video of the same name but other content" in found.stderr


def test_damaged_cache_is_told(tmp_path: Path) -> None:
    """A cache cut short by a full disk counts as finished."""
    given = [write_video(tmp_path / "a.avi"), "-o", tmp_path / "flow", *SMALL]
    assert run(*given).exit_code == 0
    path = tmp_path / "flow/a.avi.h5"
    path.write_bytes(path.read_bytes()[:-100])
    found = run(*given)
    assert found.exit_code == 2
    assert "is damaged" in found.stderr
    assert run(*given, "--overwrite").exit_code == 0
    assert cache_problems(path) == []


def test_bad_videos_are_listed_and_the_others_done(tmp_path: Path) -> None:
    """One bad video stops a night's run, or passes without a word."""
    write_video(tmp_path / "videos/good.avi")
    write_video(tmp_path / "videos/one.avi", frames=1)
    (tmp_path / "videos/text.avi").write_text("not a video")
    found = run(tmp_path / "videos", "-o", tmp_path / "flow", *SMALL, "-j", "2")
    assert found.exit_code == 1
    assert "2 of 3 failed" in found.stderr
    assert "at least two frames" in found.stderr
    assert list(tree(tmp_path / "flow")) == ["good.avi.h5"]


def test_equal_base_names_do_not_collide(tmp_path: Path) -> None:
    """a.avi of one folder overwrites a.avi of another."""
    for place in ("x/a.avi", "y/a.avi"):
        write_video(tmp_path / "videos" / place, seed=ord(place[0]))
    assert run(tmp_path / "videos", "-o", tmp_path / "flow", *SMALL).exit_code == 0
    assert sorted(tree(tmp_path / "flow")) == ["x/a.avi.h5", "y/a.avi.h5"]
    assert len(set(tree(tmp_path / "flow").values())) == 2


def test_short_video_gives_the_pairs_it_has(tmp_path: Path) -> None:
    """A video shorter than a stack crashes, or pairs are computed twice."""
    video = write_video(tmp_path / "a.avi", frames=3)
    assert run(video, "-o", tmp_path / "flow", *SMALL, "--stack-length", "10").exit_code == 0
    with open_flow(tmp_path / "flow/a.avi.h5") as flow:
        assert flow.frame_index.tolist() == [0, 1]


def test_too_small_frames_are_one_clear_line(tmp_path: Path) -> None:
    """Frames under TV-L1's smallest scale end in a traceback or in meaningless flow."""
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"png "), 25, (12, 12))
    for _ in range(4):
        writer.write(np.zeros((12, 12, 3), np.uint8))
    writer.release()
    found = run(tmp_path / "a.avi", "-o", tmp_path / "flow", *SMALL)
    assert found.exit_code == 1
    assert "at least 16x16 px, found 12x12" in found.stderr


def test_dry_run_forecasts_and_writes_nothing(tmp_path: Path) -> None:
    """A dry run writes, or its counts are not those of the run."""
    write_video(tmp_path / "videos/a.avi")
    write_video(tmp_path / "videos/b.avi", seed=1)
    given = [tmp_path / "videos", "-o", tmp_path / "flow", *SMALL]
    found = run(*given, "--dry-run")
    assert found.exit_code == 0
    assert not (tmp_path / "flow").exists()
    pairs = 0
    assert run(*given).exit_code == 0
    for path in (tmp_path / "flow").glob("*.h5"):
        with open_flow(path) as flow:
            pairs += len(flow)
    assert f"pairs     about {pairs}, " in found.stdout
    assert "2 to do" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere", "-o", "flow"], "no such file or folder"),
        (["a.avi", "-o", "flow", "--bound", "0"], "bound"),
        (["a.avi", "-o", "flow", "--size", "wide"], "WIDTHxHEIGHT"),
        (["a.avi", "-o", "flow", "--shard", "3/2"], "--shard"),
        (["a.avi", "-o", "flow", "-j", "0"], "--jobs"),
        (["a.avi", "-o", "a.avi"], "a.avi: expected a folder"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    """A typing error is reported after hours, with a traceback, or not at all."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.avi")
    found = run(*arguments, "--engine", "opencv")
    assert found.exit_code == 2
    assert told in found.stderr
    assert os.listdir(tmp_path) == ["a.avi"]


def test_shards_share_the_videos(tmp_path: Path) -> None:
    """Two nodes compute the same video, or one is never computed."""
    for number in range(3):
        write_video(tmp_path / f"videos/{number}.avi", seed=number)
    for part in ("1/2", "2/2"):
        found = run(tmp_path / "videos", "-o", tmp_path / part[0], *SMALL, "--shard", part)
        assert found.exit_code == 0
    assert sorted([*tree(tmp_path / "1"), *tree(tmp_path / "2")]) == [
        f"{number}.avi.h5" for number in range(3)
    ]


def test_header_records_everything(tmp_path: Path) -> None:
    """Nobody can tell later how a cache was made, or stage two reads another plan from it."""
    video = write_video(tmp_path / "a.avi")
    assert run(video, "-o", tmp_path / "flow", *SMALL).exit_code == 0
    header = read_header(tmp_path / "flow/a.avi.h5")
    assert header.source == str(video)
    assert header.source_size == video.stat().st_size
    assert (header.decoded_frames, header.rotation) == (10, 0)
    assert header.versions["engine"] == "opencv"
    parameters = json.loads(json.dumps(header.parameters))
    plan = PlanOptions(**parameters["plan"])
    assert plan == PlanOptions(segments=2, candidates=1, stack_length=3)
    assert FlowOptions(**parameters["flow"]) == FlowOptions()
    assert TVL1Options(**parameters["tvl1"]) == FAST_TVL1


def test_pairs_share_frames_and_hold_no_more_than_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are converted twice, or a long video fills the memory."""
    video = write_video(tmp_path / "a.avi")
    converted = count_calls(monkeypatch, "pipeline.extract_flow.fields.prepare")
    pairs = np.array([[0, 1], [1, 2], [5, 7], [7, 9]])
    found = list(read_pairs(video, pairs, (64, 48)))
    assert converted() == 6
    assert found[0][1] is found[1][0]
    frames = {index: prepare(frame, (64, 48)) for index, frame in read_frames(video, range(10))}
    for (first, second), (i0, i1) in zip(pairs, found, strict=True):
        np.testing.assert_array_equal(i0, frames[first])
        np.testing.assert_array_equal(i1, frames[second])


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> Callable[[], int]:
    """Count the calls of a function that goes on doing what it does."""
    calls: list[None] = []

    def counted(*arguments: object) -> object:
        calls.append(None)
        return prepare(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(name, counted)
    return lambda: len(calls)


def test_help_needs_no_heavy_import() -> None:
    """`extract-flow --help` takes seconds."""
    found = CliRunner().invoke(command, ["--help"])
    assert found.exit_code == 0
    assert "--lambda" in found.stdout
    assert "Examples:" in found.stdout

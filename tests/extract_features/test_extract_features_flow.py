"""extract-features without --flow: extract-flow runs first, and its caches are kept."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from data.cache.folder import cache_path, find_caches, read_header
from data.errors import InputError, StaleCacheError
from data.sources import Source, find_sources
from pipeline import cli
from pipeline.extract_features.settings import default_flow_folder
from pipeline.extract_flow.settings import FlowSettings
from pipeline.runner.jobs import JobOptions
from tests.extract_features.material import (
    FLOW,
    FRAMES,
    PLAN,
    QUICK,
    TRUNK,
    datasets,
    extract_into,
    material,
    write_video,
)

SETTINGS = FlowSettings(plan=PLAN, flow=FLOW, tvl1=QUICK, engine="opencv")


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory).quick_flow


@pytest.fixture(scope="session")
def both(
    tmp_path_factory: pytest.TempPathFactory, sources: list[Source], flow: Path
) -> tuple[Path, Path]:
    """Features by two commands, and by one; each with its own stage one."""
    two, one = (tmp_path_factory.mktemp(name) / name for name in ("two", "one"))
    assert not extract_into(sources, flow, two).failures
    assert not extract_into(sources, default_flow_folder(one), one, SETTINGS).failures
    return two, one


def test_one_command_writes_the_caches_of_two(both: tuple[Path, Path], flow: Path) -> None:
    """Users who leave --flow out must get the same flow, weights, maps and headers."""
    two, one = both
    for key in FRAMES:
        for first, second in ((two, one), (flow, default_flow_folder(one))):
            assert datasets(cache_path(first, key)) == datasets(cache_path(second, key))
            assert read_header(cache_path(first, key)) == read_header(cache_path(second, key))


def test_flow_of_an_earlier_run_is_kept(
    tmp_path: Path, both: tuple[Path, Path], sources: list[Source], monkeypatch: Any
) -> None:
    """Lost features must cost no flow, and what exists is not computed again."""
    _, one = both
    output, kept = tmp_path / "features", tmp_path / "flow"
    shutil.copytree(one, output)
    shutil.copytree(default_flow_folder(one), kept)
    cache_path(output, "one.avi").unlink()

    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError("flow that was kept is computed again")

    monkeypatch.setattr("pipeline.extract_flow.video.extract_one", fail)
    outcome = extract_into(sources, kept, output, SETTINGS)
    assert {s.key: r.computed for s, r in outcome.results} == {
        "deep/two.avi": False,
        "one.avi": True,
    }
    assert datasets(cache_path(output, "one.avi")) == datasets(cache_path(one, "one.avi"))


def test_features_whose_flow_was_never_kept_stay_valid(
    tmp_path: Path, both: tuple[Path, Path], flow: Path, sources: list[Source]
) -> None:
    """Earlier versions computed flow on the way; days of features must not become stale."""
    shutil.copytree(both[0], tmp_path / "features")
    for path in find_caches(tmp_path / "features").values():
        header = dataclasses.replace(read_header(path), upstream="")
        with h5py.File(path, "r+") as file:
            file.attrs["upstream"] = ""
            file.attrs["fingerprint"] = header.fingerprint
    outcome = extract_into(sources, flow, tmp_path / "features")
    assert [result.computed for _, result in outcome.results] == [False, False]
    for change in ({"bound": 5.0}, {"dtype": "float16"}):
        other = dataclasses.replace(SETTINGS, flow=dataclasses.replace(FLOW, **change))
        with pytest.raises(StaleCacheError, match="you asked"):
            extract_into(sources, tmp_path / "other", tmp_path / "features", other)
        shutil.rmtree(tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": dataclasses.replace(FLOW, bound=5.0)}, "bound 4, you asked 5"),
        ({"tvl1": dataclasses.replace(QUICK, warps=2)}, "warps 1, you asked 2"),
    ],
)
def test_flow_kept_with_other_options_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path, flow: Path, sources: list[Source]
) -> None:
    """It would be mixed with new flow in one folder; the flag of that folder is named."""
    with pytest.raises(StaleCacheError, match=f"{message}.* another --save-flow"):
        extract_into(sources, flow, tmp_path / "x", dataclasses.replace(SETTINGS, **change))
    assert not list(tmp_path.iterdir())


def test_a_shard_computes_the_flow_of_all_training_videos(
    tmp_path: Path, sources: list[Source], both: tuple[Path, Path]
) -> None:
    """Every shard must fit the same random trunks, whichever of them starts first."""
    jobs = JobOptions(jobs=1, shard="2/2")
    outcome = extract_into(sources, tmp_path / "flow", tmp_path / "x", SETTINGS, jobs=jobs)
    assert [source.key for source, _ in outcome.results] == ["one.avi"]
    assert sorted(find_caches(tmp_path / "flow")) == sorted(FRAMES)
    assert list(find_caches(tmp_path / "x")) == ["one.avi"]
    path = cache_path(tmp_path / "x", "one.avi")
    assert read_header(path).weights == read_header(cache_path(both[0], "one.avi")).weights


def test_a_bad_video_is_one_failure_and_stops_nobody(tmp_path: Path, made: Path) -> None:
    """What extract-flow finds wrong is listed once, with its own message."""
    videos = tmp_path / "videos"
    write_video(videos / "good.avi", 0, 9)
    write_video(videos / "short.avi", 0, 1)
    (videos / "text.avi").write_text("no video")
    output, flow = tmp_path / "out", tmp_path / "flow"
    output.mkdir()
    shutil.copy(made / "stage_one.safetensors", output)
    outcome = extract_into(find_sources([videos]), flow, output, SETTINGS)
    assert [source.key for source, _ in outcome.results] == ["good.avi"]
    messages = [(source.key, message) for source, message in outcome.failures]
    assert [key for key, _ in messages] == ["short.avi", "text.avi"]
    assert "at least two frames" in messages[0][1]
    left = [path.name for folder in (flow, output) for path in sorted(folder.rglob("*"))]
    assert left == ["good.avi.h5", "good.avi.h5", "stage_one.safetensors"]


def test_wrong_weights_are_refused_before_any_flow(tmp_path: Path, sources: list[Source]) -> None:
    """A misspelt file name would be found after days of flow."""
    trunk = dataclasses.replace(TRUNK, rgb_weights="nowhere.pth")
    with pytest.raises(InputError, match=r"nowhere\.pth"):
        extract_into(sources, tmp_path / "flow", tmp_path / "x", SETTINGS, trunk=trunk)
    assert not (tmp_path / "flow").exists()


@pytest.mark.parametrize(
    ("output", "folder"),
    [("features", "features-flow"), ("a/b.c", "a/b.c-flow"), ("/x/y/..", "/x-flow")],
)
def test_the_folder_of_the_flow_lies_next_to_the_output(output: str, folder: str) -> None:
    """Inside the output, flow and features of a video could be taken for each other."""
    assert default_flow_folder(Path(output)) == Path(folder)
    assert default_flow_folder(Path()) == Path.cwd().with_name(f"{Path.cwd().name}-flow")


# --- the command ---


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.cli.main([str(a) for a in ("extract-features", *arguments)])
    return int(caught.value.code or 0)


FLAGS = [
    *("--segments", 3, "--candidates", 1, "--stack-length", 2, "--device", "cpu", "-j", 1),
    *("--weights", "random", "--input-size", 64, "--training-snippets", 8),
    *("--fusion-hidden", 16, "--fusion-channels", 8, "--engine", "opencv", "--short-side", 32),
    *("--bound", 4, "--scales", 2, "--warps", 1, "--inner", 3, "--outer", 1),
]


def test_the_command_needs_no_flow(
    both: tuple[Path, Path], videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flags reach the engine: equal options find flow and features done, and the place is named."""
    assert run(videos, "-o", both[1], *FLAGS) == 0
    shown = capsys.readouterr()
    assert "2 videos, 2 of them already done; 6 snippets" in shown.out
    assert f"flow goes to {both[1]}-flow" in shown.err


def test_a_dry_run_shows_both_plans(
    both: tuple[Path, Path], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users plan days of flow by these lines, before any of it exists."""
    kept = tmp_path / "flow"
    assert run(videos, "-o", tmp_path / "x", "--save-flow", kept, *FLAGS, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"flow      {kept}"
    assert lines[1] == "videos    2, of which 0 done, 2 to do"
    assert "pairs     about 1" in lines[2]
    assert f"features  {tmp_path / 'x'}" in lines
    assert "snippets  6 (by the headers of the videos)" in lines
    assert not list(tmp_path.iterdir())
    assert run(videos, "-o", both[1], *FLAGS, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("videos    2, of which 2 done, 0 to do") == 2
    # Features that exist, of flow that does not.
    assert run(videos, "-o", both[1], "--save-flow", kept, *FLAGS, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "videos    2, of which 0 done, 2 to do"
    assert "videos    2, of which 2 done, 0 to do" in lines


def test_options_of_flow_with_flow_caches_are_refused(
    flow: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would do nothing, while the user believes otherwise."""
    assert run(videos, "--flow", flow, "-o", tmp_path, "--bound", 4) == 2
    assert "--bound has no effect" in capsys.readouterr().err
    assert run(videos, "--flow", flow, "--save-flow", tmp_path, "-o", tmp_path) == 2
    assert "without --flow" in capsys.readouterr().err

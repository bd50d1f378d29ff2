"""extract-features without flow caches: the flow that extract-flow would make, on the way."""

from __future__ import annotations

import dataclasses
import functools
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.cache.folder import cache_path, read_header
from data.errors import InputError, StaleCacheError
from data.sources import Source, find_sources
from pipeline import cli
from pipeline.extract_features import direct_flow
from pipeline.extract_features import recipe as feature_recipe
from pipeline.extract_features.command import extract_features
from pipeline.runner.jobs import JobOptions
from tests.extract_features.material import (
    FLOW,
    FRAMES,
    FUSION,
    ONE,
    PLAN,
    QUICK,
    TRUNK,
    datasets,
    maps_of,
    material,
    quick_flow,
    write_video,
)

Extract = Callable[..., Any]


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory).quick_flow


@pytest.fixture
def extract(sources: list[Source]) -> Extract:
    return functools.partial(
        extract_features,
        sources,
        None,
        plan=PLAN,
        trunk=TRUNK,
        fusion=FUSION,
        jobs=ONE,
        device="cpu",
        flow=FLOW,
        tvl1=QUICK,
        engine="opencv",
    )


# --- one command or two ---


def test_features_are_those_of_two_commands_to_the_bit(both: tuple[Path, Path]) -> None:
    """Flow on the way must not be another flow: not for BatchNorm's statistics, not for maps."""
    two, one = both
    for key in FRAMES:
        assert datasets(cache_path(one, key)) == datasets(cache_path(two, key))
        first, second = (read_header(cache_path(folder, key)) for folder in both)
        assert first.weights == second.weights
        assert first.upstream != "" == second.upstream
        assert dataclasses.replace(first, upstream="") == second


def test_kept_flow_is_what_extract_flow_writes(both: tuple[Path, Path], flow: Path) -> None:
    """Later commands go on with it: arrays, clipped share, header and fingerprint are equal."""
    from data.cache.flow import open_flow

    for key in FRAMES:
        kept, expected = (cache_path(folder, key) for folder in (flow.parent / "kept", flow))
        assert datasets(kept) == datasets(expected)
        assert read_header(kept) == read_header(expected)
        with open_flow(kept) as mine, open_flow(expected) as theirs:
            assert mine.clipped == theirs.clipped


def test_either_way_goes_on_with_the_others_features(
    both: tuple[Path, Path], flow: Path, sources: list[Source], extract: Extract
) -> None:
    """A user who kept the flow must not be told that it is another one, nor compute twice."""
    two, one = both
    over = extract(output=two)
    under = extract_features(sources, flow, one, PLAN, TRUNK, FUSION, ONE, "cpu")
    for outcome in (over, under):
        assert [result.computed for _, result in outcome.results] == [False, False]
        assert [result.snippets for _, result in outcome.results] == [3, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": dataclasses.replace(FLOW, bound=5.0)}, "bound 4, you asked 5"),
        ({"tvl1": dataclasses.replace(QUICK, warps=2)}, "warps 1, you asked 2"),
    ],
)
def test_other_options_of_flow_are_refused_by_name(
    change: dict[str, Any], message: str, both: tuple[Path, Path], extract: Extract
) -> None:
    """Without a flow cache, its options must stand in the features' own header."""
    for output in both:
        with pytest.raises(StaleCacheError, match=message):
            extract(output=output, **change)


def test_changed_video_makes_its_features_stale(
    tmp_path: Path, made: Path, extract: Extract
) -> None:
    """The content of the video is compared, though nothing lies between it and its features."""
    write_video(tmp_path / "videos" / "a.avi", 0, 9)
    shutil.copy(made / "stage_one.safetensors", tmp_path)
    again = functools.partial(
        extract_features, find_sources([tmp_path / "videos"]), **extract.keywords
    )
    assert not again(None, tmp_path / "out").failures
    write_video(tmp_path / "videos" / "a.avi", 1, 9)
    with pytest.raises(StaleCacheError, match="other content"):
        again(None, tmp_path / "out")


def test_kept_flow_is_read_and_missing_flow_is_added(
    tmp_path: Path, both: tuple[Path, Path], flow: Path, extract: Extract, monkeypatch: Any
) -> None:
    """Lost features cost no flow where it was kept; kept flow is complete in the end."""
    _, one = both
    output, kept = tmp_path / "features", tmp_path / "kept"
    shutil.copytree(one, output)
    shutil.copytree(flow, kept)
    cache_path(output, "one.avi").unlink()
    cache_path(kept, "deep/two.avi").unlink()

    def fail(video: object) -> None:
        raise AssertionError("flow that was kept is computed again")

    monkeypatch.setattr(direct_flow, "start_video", fail)
    outcome = extract(output=output, save_flow=kept)
    assert {s.key: r.computed for s, r in outcome.results} == {
        "deep/two.avi": False,
        "one.avi": True,
    }
    for key in FRAMES:
        assert datasets(cache_path(output, key)) == datasets(cache_path(one, key))
        assert datasets(cache_path(kept, key)) == datasets(cache_path(flow, key))


def test_flow_kept_with_other_options_is_refused(
    tmp_path: Path, flow: Path, extract: Extract
) -> None:
    """It would be mixed with new flow in one folder."""
    change = {"flow": dataclasses.replace(FLOW, bound=5.0)}
    with pytest.raises(StaleCacheError, match="bound 4, you asked 5"):
        extract(output=tmp_path, save_flow=flow, **change)
    assert not list(tmp_path.iterdir())


def test_float16_and_threads_give_what_their_cache_gives(
    tmp_path: Path, made: Path, sources: list[Source], extract: Extract
) -> None:
    """Half-precision flow is rounded before it becomes levels, as its cache would be."""
    half = dataclasses.replace(FLOW, dtype="float16")
    for name in ("two", "one"):
        (tmp_path / name).mkdir()
        shutil.copy(made / "stage_one.safetensors", tmp_path / name)
    quick_flow(sources, tmp_path / "flow", half)
    common = (PLAN, TRUNK, FUSION, ONE, "cpu")
    extract_features(sources, tmp_path / "flow", tmp_path / "two", *common)
    extract(output=tmp_path / "one", flow=half, jobs=JobOptions(jobs=2, backend="threading"))
    for key in FRAMES:
        found, expected = (maps_of(tmp_path / name, key) for name in ("one", "two"))
        # More threads sum in another order: float32, and the rounding to half precision.
        np.testing.assert_allclose(found, expected, rtol=2**-10, atol=1e-3 * abs(expected).max())


def test_a_bad_video_leaves_nothing_and_stops_nobody(
    tmp_path: Path, made: Path, extract: Extract, sources: list[Source]
) -> None:
    """What the scan finds wrong is a listed failure, as in extract-flow."""
    videos = tmp_path / "videos"
    write_video(videos / "good.avi", 0, 9)
    write_video(videos / "short.avi", 0, 1)
    (videos / "text.avi").write_text("no video")
    output = tmp_path / "out"
    output.mkdir()
    shutil.copy(made / "stage_one.safetensors", output)
    outcome = extract_features(
        find_sources([videos]),
        **(extract.keywords | {"flow_folder": None, "output": output, "save_flow": tmp_path / "f"}),
    )
    assert [source.key for source, _ in outcome.results] == ["good.avi"]
    messages = {source.key: message for source, message in outcome.failures}
    assert "at least two frames" in messages["short.avi"]
    assert "text.avi" in messages["text.avi"]
    left = [path.name for path in (tmp_path / "f", output) for path in sorted(path.rglob("*"))]
    assert left == ["good.avi.h5", "good.avi.h5", "stage_one.safetensors", "times.jsonl"]


# --- which engine ---


def test_a_gpu_without_triton_falls_back_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The networks still run on the GPU; the user must read why flow does not."""
    why = "Triton cannot be imported (No module named 'triton'); pip install triton"
    monkeypatch.setattr("model.tvl1.cuda.runtime.available", lambda: (False, why))
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert feature_recipe.resolve_engine("auto", ["cuda:0"]) in ("numba", "opencv")
    (record,) = caplog.records
    assert why in record.getMessage()
    assert "\n" not in record.getMessage()
    with pytest.raises(InputError, match="pip install triton"):
        feature_recipe.resolve_engine("cuda", ["cuda:0"])


def test_cuda_is_the_default_where_the_networks_run_on_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Flow belongs on its trunk's device; where one of them is a CPU, all take a CPU engine."""
    monkeypatch.setattr("model.tvl1.cuda.runtime.available", lambda: (True, ""))
    assert feature_recipe.resolve_engine("auto", ["cuda:0", "cuda:1"]) == "cuda"
    assert feature_recipe.resolve_engine("auto", ["cpu"]) != "cuda"
    assert feature_recipe.resolve_engine("auto", ["cuda:0", "cpu"]) != "cuda"
    with pytest.raises(InputError, match="--engine cuda computes flow on the networks' device"):
        feature_recipe.resolve_engine("cuda", ["cpu"])


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


def test_the_command_needs_no_flow_and_tells_its_cost(
    both: tuple[Path, Path],
    sources: list[Source],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Flags reach the engine: equal options find the features done; a dry run tells of flow."""
    videos = sources[0].path.parent.parent
    assert run(videos, "-o", both[1], *FLAGS) == 0
    assert "2 videos, 2 of them there already; 6 snippets" in capsys.readouterr().out
    kept = tmp_path / "flow"
    assert run(videos, "-o", tmp_path / "x", "--save-flow", kept, *FLAGS, "--dry-run") == 0
    told = capsys.readouterr().out
    assert "snippets  6 (by the videos' headers)" in told
    assert "pairs on the way, engine opencv" in told
    assert str(kept) in told
    assert not list(tmp_path.iterdir())


def test_options_of_flow_beside_flow_caches_are_refused(
    flow: Path, sources: list[Source], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would do nothing, while the user believes otherwise."""
    videos = sources[0].path.parent.parent
    assert run(videos, "--flow", flow, "-o", tmp_path, "--bound", 4) == 2
    assert "--bound has no effect" in capsys.readouterr().err
    assert run(videos, "--flow", flow, "--save-flow", tmp_path, "-o", tmp_path) == 2
    assert "without --flow" in capsys.readouterr().err

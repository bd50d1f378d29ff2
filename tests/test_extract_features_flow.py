"""extract-features without flow caches: the flow that extract-flow would make, on the way.

The CUDA engine's part is played by an engine of the same methods that computes on the CPU, so that
batches, memory and order are tested where there is no GPU.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from data.cache import cache_path, read_header
from data.errors import InputError, StaleCacheError
from data.options import FlowOptions, PlanOptions
from data.sources import Source, find_sources
from model.tvl1 import cuda
from model.tvl1.options import TVL1Options
from pipeline import cli, direct_flow, feature_recipe
from pipeline.device_flow import cpu_flows
from pipeline.extract_features import extract_features
from pipeline.extract_flow import extract_flow
from pipeline.feature_plan import FeaturePlan, Settings
from pipeline.feature_workers import FeatureTask, VideoJob, run_share
from pipeline.forward import Forward
from pipeline.jobs import JobOptions
from pipeline.stage_one import StageOneSetup, load_stage_one
from tests.stage_one_material import (
    FRAMES,
    FUSION,
    ONE,
    PLAN,
    TRUNK,
    datasets,
    maps_of,
    material,
    write_video,
)

# Few iterations: what matters here is that both ways compute the same.
QUICK = TVL1Options(scales=2, warps=1, inner=3, outer=1)
FLOW = FlowOptions(short_side=32, bound=4.0)
Extract = Callable[..., Any]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    return material(tmp_path_factory).sources


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> StageOneSetup:
    return material(tmp_path_factory).setup


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory).made


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory, sources: list[Source]) -> Path:
    """Flow caches as extract-flow writes them; tests must not change them."""
    folder = tmp_path_factory.mktemp("on_the_way") / "flow"
    outcome = extract_flow(sources, folder, PLAN, FLOW, QUICK, "opencv", ONE, "cpu")
    assert not outcome.failures
    return folder


@pytest.fixture(scope="session")
def both(flow: Path, sources: list[Source]) -> tuple[Path, Path]:
    """Features by two commands, and by one that keeps its flow; each with its own stage one."""
    two, one = flow.parent / "two", flow.parent / "one"
    common = (PLAN, TRUNK, FUSION, ONE, "cpu")
    assert not extract_features(sources, flow, two, *common).failures
    kept = {"save_flow": flow.parent / "kept", "flow": FLOW, "tvl1": QUICK, "engine": "opencv"}
    assert not extract_features(sources, None, one, *common, **kept).failures  # type: ignore[arg-type]
    return two, one


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
    from data.flow_cache import open_flow

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
    extract_flow(sources, tmp_path / "flow", PLAN, half, QUICK, "opencv", ONE, "cpu")
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
    assert left == ["good.avi.h5", "good.avi.h5", "stage_one.safetensors"]


# --- flow on the device ---


class Engine:
    """An engine of `CudaTVL1`'s methods on the CPU that holds `room` pairs at a time."""

    room = 1 << 30
    solved: ClassVar[list[int]] = []

    def __init__(
        self, height: int, width: int, options: TVL1Options, device: torch.device, batch: int = 8
    ) -> None:
        self.size = (height, width)
        self.batch = batch
        self._flows = cpu_flows("opencv", options)

    def shrink(self, batch: int) -> None:
        self.batch = batch

    def flows(self, greys: Tensor, pairs: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(pairs), self.batch):
            part = pairs[start : start + self.batch]
            if len(part) > Engine.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            Engine.solved.append(len(part))
            fields = torch.cat([flow for _, flow in self._flows(greys, part, "")])
            yield slice(start, start + len(part)), fields


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[Engine]:
    monkeypatch.setattr(cuda, "CudaTVL1", Engine)
    monkeypatch.setattr(Engine, "room", 1 << 30)
    monkeypatch.setattr(Engine, "solved", [])
    return Engine


def device_share(
    sources: list[Source],
    flow: Path,
    setup: StageOneSetup,
    output: Path,
    save_flow: Path | None = None,
    plan: PlanOptions = PLAN,
    **changes: object,
) -> tuple[FeatureTask, list[VideoJob]]:
    """Plan the work as on a GPU: flow is computed where the trunks are."""
    recipe = feature_recipe.make_recipe(plan, FLOW, QUICK, "opencv", ["cpu"], strict=False)
    # Recorded as the engine that really computes, to compare the headers.
    recipe = dataclasses.replace(recipe, engine="cuda")
    settings = Settings(
        None, output, plan, TRUNK, FUSION, "float32", ["cpu"], False, False, 0, recipe, 1, save_flow
    )  # fmt: skip
    planned = FeaturePlan(settings, sources, sources)
    task = dataclasses.replace(planned.task(setup, JobOptions(), None), **changes)  # type: ignore[arg-type]
    return task, planned.jobs(setup.weights, [source.key for source in sources])


@pytest.mark.parametrize("readers", [0, 2])
def test_flow_on_the_device_is_the_flow_of_the_cache(
    readers: int,
    tmp_path: Path,
    engine: type[Engine],
    sources: list[Source],
    flow: Path,
    both: tuple[Path, Path],
) -> None:
    """Grey pictures travel to the device in threads or processes; stacks and caches are equal."""
    setup = load_stage_one(both[0])
    task, jobs = device_share(sources, flow, setup, tmp_path, tmp_path / "flow", readers=readers)
    result = run_share(("cpu", jobs), task, Forward(setup.module, batch_size=task.batch_size))
    assert not result.failures
    for key in FRAMES:
        kept = cache_path(tmp_path / "flow", key)
        assert datasets(kept) == datasets(cache_path(flow, key))
        header = read_header(cache_path(tmp_path, key))
        assert header.decoded_frames == FRAMES[key]
        assert header.upstream == ""
        assert np.array_equal(maps_of(tmp_path, key), maps_of(both[0], key))


def test_each_pair_is_computed_once_over_many_chunks(
    tmp_path: Path,
    engine: type[Engine],
    monkeypatch: pytest.MonkeyPatch,
    sources: list[Source],
    setup: StageOneSetup,
) -> None:
    """Overlapping windows of a dense plan share fields across batches and chunks."""
    dense = PlanOptions(plan="dense", stride=1, stack_length=4)
    plan_of = {s.key: FRAMES[s.key] - 4 for s in sources}  # Snippets whose window fits.
    recipe = feature_recipe.make_recipe(dense, FLOW, QUICK, "opencv", ["cpu"], strict=False)
    seen = {}
    for size in (3, 1000):
        monkeypatch.setattr(direct_flow, "DEVICE_PAIRS", size)
        for source in sources:
            settings = Settings(
                None, tmp_path, dense, TRUNK, FUSION, "float32", ["cpu"], False, False, 0,
                dataclasses.replace(recipe, engine="cuda"),
            )  # fmt: skip
            video = settings.input(source, None)
            chunks = list(direct_flow.computed_chunks(0, video, 2, {}))
            assert (len(chunks) > 1) == (size == 3)
            start = chunks[0].start
            assert start is not None
            assert sum(len(chunk.rows) for chunk in chunks) == plan_of[source.key]
            engine.solved.clear()
            flows = direct_flow.DeviceFlow(QUICK, "cpu")
            with direct_flow.open_window(video, start, flows) as window:
                stacks = torch.cat([window.stacks(c.raw) for c in chunks if c.raw is not None])
            assert sum(engine.solved) == FRAMES[source.key] - 1
            seen[source.key, size] = stacks
    for source in sources:
        assert torch.equal(seen[source.key, 3], seen[source.key, 1000])


def test_out_of_memory_halves_the_flow_batch_names_the_video_and_goes_on(
    tmp_path: Path,
    engine: type[Engine],
    monkeypatch: pytest.MonkeyPatch,
    sources: list[Source],
    flow: Path,
    setup: StageOneSetup,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A batch too large costs a warning; no pair is lost or done twice once it fits."""
    monkeypatch.setattr(Engine, "room", 2)
    task, jobs = device_share(sources, flow, setup, tmp_path, tmp_path / "flow")
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        result = run_share(("cpu", jobs), task, Forward(setup.module))
    assert not result.failures
    for key in FRAMES:
        assert datasets(cache_path(tmp_path / "flow", key)) == datasets(cache_path(flow, key))
    assert max(engine.solved) == 2
    pairs = sum(len(datasets(cache_path(flow, key))["frame_index"]) // 8 for key in FRAMES)
    assert sum(engine.solved) == pairs
    told = [record.getMessage() for record in caplog.records if "out of memory" in record.message]
    assert told
    assert all(sources[0].key in line for line in told)
    assert "8 pairs; going on with 4" in told[0]
    assert "4 pairs; going on with 2" in told[1]


def test_a_pair_too_large_for_the_device_fails_its_video(
    tmp_path: Path,
    engine: type[Engine],
    monkeypatch: pytest.MonkeyPatch,
    sources: list[Source],
    flow: Path,
    setup: StageOneSetup,
) -> None:
    """Halving ends at one pair; then only another size or device helps, and nothing is left."""
    monkeypatch.setattr(Engine, "room", 0)
    task, jobs = device_share(sources, flow, setup, tmp_path / "out", tmp_path / "flow")
    result = run_share(("cpu", jobs), task, Forward(setup.module))
    assert sorted(result.failures) == sorted(FRAMES)
    assert all("single pair; use a smaller --short-side" in m for m in result.failures.values())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# --- which engine ---


def test_a_gpu_without_triton_falls_back_with_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The networks still run on the GPU; the user must read why flow does not."""
    why = "Triton cannot be imported (No module named 'triton'); pip install triton"
    monkeypatch.setattr("model.tvl1.cuda_runtime.available", lambda: (False, why))
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
    monkeypatch.setattr("model.tvl1.cuda_runtime.available", lambda: (True, ""))
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

"""Flow of extract-features on the trunks' device: batches, memory, order.

The CUDA engine's part is played by an engine of the same methods that computes on the CPU, so that
all of it is tested where there is no GPU.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from data.cache.flow import quantise as cache_levels
from data.cache.folder import cache_path, read_header
from data.options import PlanOptions
from data.sources import Source
from model.tvl1.options import TVL1Options
from pipeline.extract_features import direct_flow
from pipeline.extract_features import recipe as feature_recipe
from pipeline.extract_features.device_flow import cpu_flows, quantise
from pipeline.extract_features.forward import Forward
from pipeline.extract_features.plan import FeaturePlan, Settings
from pipeline.extract_features.share import FeatureTask, VideoJob, run_share
from pipeline.runner.jobs import JobOptions
from pipeline.stage_one.file import load_stage_one
from pipeline.stage_one.networks import Networks
from tests.extract_features.material import (
    FLOW,
    FRAMES,
    FUSION,
    PLAN,
    QUICK,
    TRUNK,
    datasets,
    maps_of,
    material,
)


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory).quick_flow


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
    monkeypatch.setattr("model.tvl1.cuda.engine.CudaTVL1", Engine)
    monkeypatch.setattr(Engine, "room", 1 << 30)
    monkeypatch.setattr(Engine, "solved", [])
    return Engine


def device_share(
    sources: list[Source],
    flow: Path,
    setup: Networks,
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
    setup: Networks,
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
    setup: Networks,
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
    setup: Networks,
) -> None:
    """Halving ends at one pair; then only another size or device helps, and nothing is left."""
    monkeypatch.setattr(Engine, "room", 0)
    task, jobs = device_share(sources, flow, setup, tmp_path / "out", tmp_path / "flow")
    result = run_share(("cpu", jobs), task, Forward(setup.module))
    assert sorted(result.failures) == sorted(FRAMES)
    assert all("single pair; use a smaller --short-side" in m for m in result.failures.values())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("bound", [20.0, 15.0, 7.3])
def test_levels_are_those_of_the_flow_cache(bound: float) -> None:
    """Flow that goes straight to the trunk must be what the cache would have held, ties too."""
    ties = (np.arange(-140, 140, dtype=np.float32) + np.float32(0.5)) * np.float32(bound / 127)
    wide = np.linspace(-2 * bound, 2 * bound, 4001, dtype=np.float32)
    near = np.nextafter(ties, np.float32(0))
    flow = np.concatenate([ties, near, wide, np.float32([0, -0.0, 1e6, -1e6])])
    expected = cache_levels(flow, bound)
    np.testing.assert_array_equal(quantise(torch.from_numpy(flow), bound).numpy(), expected)


def test_quantise_refuses_a_bound_of_zero() -> None:
    """It would divide by zero and write nonsense levels."""
    with pytest.raises(ValueError, match="above 0 px"):
        quantise(torch.zeros(1), 0.0)

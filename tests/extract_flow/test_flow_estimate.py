"""What a dry run of extract-flow measures before it says how long the run will take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.options import FlowOptions, PlanOptions
from data.sources import find_sources
from pipeline.extract_flow import estimate as flow_estimate
from pipeline.extract_flow.settings import FlowTask, make_task
from pipeline.runner.jobs import JobOptions
from tests.extract_flow.test_extract_flow import FAST_TVL1, write_video

Pairs = Iterator[tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def task(tmp_path: Path) -> FlowTask:
    return make_task(tmp_path, PlanOptions(), FlowOptions(), FAST_TVL1, "opencv", "cpu", False)


@pytest.mark.parametrize(("engine", "measured"), [("opencv", [12]), ("cuda", [2, 264])])
def test_a_gpu_is_measured_with_many_pairs_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: FlowTask,
    engine: str,
    measured: list[int],
) -> None:
    """A GPU takes as long for one pair as for a hundred: measured singly, it is told as slow."""
    given = []

    def fields(pairs: Pairs, task: FlowTask, name: str) -> Iterator[np.ndarray]:
        together = list(pairs)
        given.append(len(together))
        yield from (np.zeros((*first.shape, 2), np.float32) for first, _ in together)

    monkeypatch.setattr(flow_estimate, "compute_fields", fields)
    monkeypatch.setattr(flow_estimate, "warm_up", lambda engine: None)
    video = write_video(tmp_path / "a.avi", 320)
    task = replace(task, engine=engine)
    found = flow_estimate.estimate(find_sources([video]), task, JobOptions(2), 0)
    assert given == measured
    assert found.workers == (1 if engine == "cuda" else 2)


def test_a_video_too_short_for_any_pair_has_no_time_a_pair(tmp_path: Path, task: FlowTask) -> None:
    """Seconds a pair are told where there is none."""
    video = write_video(tmp_path / "a.avi", 10)
    task = replace(task, plan=PlanOptions(fps=0.01))
    found = flow_estimate.estimate(find_sources([video]), task, JobOptions(1), 0)
    assert (found.pairs, found.seconds_per_pair) == (0, None)

"""What the tests of the page share: caches, a run, an evaluation, and pages about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.judgements.options import DatasetOptions
from data.judgements.pairs import Pair
from pipeline.evaluate.command import evaluate
from pipeline.evaluate.settings import EvaluateOptions, EvaluateSettings
from pipeline.report.command import write_report
from pipeline.report.content import ReportSettings
from pipeline.runner.jobs import JobOptions
from tests.helpers.training import train_ranker
from tests.report.material import NAMES, RANKER, TRAIN, write_video

S, SIDE, C = 6, 3, 4


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine videos, eight with hostile or long names and one broken, with caches and pairs."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for number, key in enumerate(NAMES):
        video = folder / "videos" / key
        write_video(video, 25 * number, 12 + number)
        if key == "broken.avi":
            video.write_bytes(b"no video at all")
        header = Header(
            "features",
            source=str(video),
            source_size=video.stat().st_size,
            decoded_frames=12 + number,
            parameters={"input_size": 192, "trunk_stage": "conv5", "plan": {"segments": 3}},
            weights={"rgb": "ab" * 32, "flow": "cd" * 32, "fusion": "ef" * 32},
            versions={"torch": "9.8.7"},
        )
        frames = np.arange(S) * 2
        path = cache_path(folder / "features", key)
        with create_features(path, header, frames, frames / 25, (C, SIDE, SIDE)) as out:
            for row in range(S):
                maps = rng.normal(size=(C, SIDE, SIDE))
                maps[0] -= number / 2
                out.put(row, maps)
    pairs = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    quoted = ['"' + name.replace('"', '""') + '"' for name in NAMES]
    lines = [f"{quoted[NAMES.index(a)]},{quoted[NAMES.index(b)]}\n" for a, b in pairs]
    (folder / "pairs.csv").write_text("better,worse\n" + "".join(lines))
    return folder


@pytest.fixture(scope="session")
def run(place: Path) -> Path:
    """Train on all but the last and the third video; test on pairs that name one of them."""
    pairs = [Pair(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    held = {NAMES[2], NAMES[5], NAMES[8]}
    inside = [pair for pair in pairs if {pair.better, pair.worse}.isdisjoint(held)]
    outside = [pair for pair in pairs if pair not in inside]
    train_ranker(
        place / "features", inside, place / "run", test_pairs=outside, ranker=RANKER, train=TRAIN
    )
    return place / "run"


@pytest.fixture(scope="session")
def evaluation(place: Path) -> Path:
    settings = EvaluateSettings(
        features=place / "features",
        pairs=place / "pairs.csv",
        output=place / "evaluation",
        dataset=DatasetOptions(folds=3),
        ranker=RANKER,
        train=TRAIN,
        options=EvaluateOptions(variants=("full", "no_att"), seeds=1, draws=100),
        jobs=JobOptions(jobs=1),
    )
    table, _ = evaluate(settings)
    assert table is not None
    return place / "evaluation"


@pytest.fixture(scope="session")
def full_page(place: Path, run: Path, evaluation: Path) -> Path:
    return write_report(run, place / "out" / "full.html", ReportSettings(evaluation=evaluation))


@pytest.fixture(scope="session")
def full_text(full_page: Path) -> str:
    return full_page.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def bare_text(place: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the page where only the checkpoint is left of the run."""
    lonely = tmp_path_factory.mktemp("lonely") / "run"
    lonely.mkdir()
    (lonely / "checkpoint.safetensors").write_bytes((run / "checkpoint.safetensors").read_bytes())
    page = write_report(lonely, lonely / "report.html")
    return page.read_text(encoding="utf-8")

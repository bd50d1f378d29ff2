"""What the tests of train-ranker share: caches and judgements of ten videos."""

from __future__ import annotations

import numpy as np
import pytest

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from tests.train_ranker.material import SIDE, C, S, V, write_pairs


@pytest.fixture(autouse=True)
def divided(monkeypatch, request):
    """Let the 28 pairs of these tests be divided, as larger sets are."""
    if "undivided" not in request.fixturenames:
        monkeypatch.setattr("pipeline.runs.choice.FEWEST_TO_DIVIDE", 10)


@pytest.fixture
def undivided():
    """Leave the least number of pairs as it is."""


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Ten caches whose first channel tells skill, two subjects, and all pairs but two videos'."""
    folder = tmp_path_factory.mktemp("stage_two")
    rng = np.random.default_rng(0)
    for video in range(V):
        key = f"{'AB'[video % 2]}{video}.mp4"
        header = Header(
            "features", source_digest=key, decoded_frames=5 * S, weights={"rgb": "r", "fusion": "u"}
        )
        path = cache_path(folder / "features", key)
        frames = np.arange(S) * 5
        with create_features(path, header, frames, frames / 25, (C, SIDE, SIDE)) as out:
            for row in range(S):
                maps = rng.normal(size=(C, SIDE, SIDE))
                maps[0] += video / 3
                out.put(row, maps)
    names = [f"{'AB'[video % 2]}{video}" for video in range(V)]
    train = [(names[a], names[b]) for a in range(V) for b in range(a) if {a, b}.isdisjoint({4, 7})]
    write_pairs(folder / "pairs.csv", train)
    write_pairs(folder / "test.csv", [(names[7], names[4]), (names[9], names[4])])
    return folder

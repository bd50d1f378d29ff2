"""The numbers and shapes behind the page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import binomtest

from data.cache.header import Header
from data.judgements.pairs import Pair
from pipeline.report.accuracy import accuracy_interval
from pipeline.report.images import jpeg, thumbnails
from pipeline.report.ranking import (
    RankedVideo,
    ScoredPair,
    ScoredPairs,
    most_wrong,
    score_bars,
    with_pictures,
)
from pipeline.report.sources import Sources
from pipeline.runner.jobs import JobOptions


def test_accuracy_interval_holds_the_mean_and_knows_that_pairs_share_videos() -> None:
    """Fails if pairs are drawn as if independent: that interval is far too narrow."""
    names = [f"v{i}" for i in range(12)]
    pairs = [Pair(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    # One video is always judged wrongly: whether it is drawn decides the accuracy.
    outcome = np.array([[float(pair.better != "v0") for pair in pairs]])
    interval = accuracy_interval([pairs], [outcome], None)
    assert interval.mean == pytest.approx(outcome.mean())
    assert interval.low < interval.mean <= interval.high
    narrow = binomtest(int(outcome.sum()), outcome.size).proportion_ci(method="wilson")
    assert interval.high - interval.low > narrow.high - narrow.low


def test_groups_are_drawn_instead_of_videos() -> None:
    """Fails if the group of a subject's videos is ignored."""
    names = [f"v{i}" for i in range(8)]
    pairs = [Pair(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    outcome = np.array([[float(pair.better in ("v0", "v1")) for pair in pairs]])
    groups = {name: f"g{i // 4}" for i, name in enumerate(names)}
    alone = accuracy_interval([pairs], [outcome], None)
    grouped = accuracy_interval([pairs], [outcome], groups)
    assert (alone.low, alone.high) != (grouped.low, grouped.high)


def ranked(scores: dict[str, float]) -> list[RankedVideo]:
    order = sorted(scores, key=lambda key: -scores[key])
    return [
        RankedVideo(key=key, rank=i + 1, score=scores[key], percentile=0.0, use="unseen")
        for i, key in enumerate(order)
    ]


def test_most_wrong_pairs_come_first_and_once() -> None:
    """Fails if the margin has the wrong sign, or a pair that was judged twice is shown twice."""
    scores = {"a": 3.0, "b": 1.0, "c": -1.0}
    listed = (("a", "b"), ("c", "a"), ("b", "a"), ("c", "a"))
    pairs = tuple(ScoredPair(x, y, (scores[x], scores[y])) for x, y in listed)
    ordered = ScoredPairs("test", pairs)
    wrong = most_wrong(ordered, 2)
    assert [(each.better, each.worse, each.margin) for each in wrong] == [
        ("c", "a", -4.0),
        ("b", "a", -2.0),
    ]
    assert ordered.wrong == 3


def test_long_rankings_keep_pictures_at_both_ends() -> None:
    """Fails if the worst videos lose their pictures to the best."""
    rows = ranked({f"v{i}": float(-i) for i in range(9)})
    assert with_pictures(rows, 5) == ["v0", "v1", "v2", "v7", "v8"]
    assert with_pictures(rows, 1) == ["v0"]
    assert with_pictures(rows, 0) == []
    assert len(with_pictures(rows, 9)) == 9


def test_bars_start_at_zero() -> None:
    """Fails if a bar's length does not tell the score's distance from zero."""
    assert score_bars([2.0, 0.0, -2.0]) == [(50.0, 50.0), (50.0, 0.0), (0.0, 50.0)]
    assert score_bars([1.0, 3.0]) == [(0.0, pytest.approx(100 / 3)), (0.0, 100.0)]
    assert score_bars([0.0]) == [(0.0, 0.0)]


def test_pictures_keep_their_proportions_and_never_grow() -> None:
    """Fails if a portrait is squeezed, or a tiny video is blown up."""
    tall = jpeg(np.zeros((400, 100, 3), np.uint8), 192)
    assert (tall.width, tall.height) == (48, 192)
    tiny = jpeg(np.zeros((10, 1000, 3), np.uint8), 50)
    assert (tiny.width, tiny.height) == (50, 1)
    assert jpeg(np.zeros((30, 40, 3), np.uint8), 192).width == 40


def test_a_folders_middle_picture_is_the_only_one_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the picture of a long frame folder costs as much as half of its frames."""
    for number in range(9):
        cv2.imwrite(str(tmp_path / f"img_{number}.png"), np.full((24, 32, 3), number, np.uint8))
    read = []
    decode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *a: read.append(decode(*a)) or read[-1])
    header = Header("features", decoded_frames=9)
    sources = Sources(
        folder=tmp_path,
        run=None,
        record=None,
        digests={},
        headers={"a": header},
        videos={"a": tmp_path},
    )
    pictures = thumbnails(sources, {"a"}, {"a"}, JobOptions(jobs=1))
    assert pictures.failed == {}
    assert [int(frame.max()) for frame in read] == [4]

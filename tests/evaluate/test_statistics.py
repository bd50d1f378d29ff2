"""Means, errors and intervals, against hand calculation and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.judgements.pairs import Pair
from data.judgements.splits import Split
from pipeline.evaluate import statistics as evaluation_statistics
from pipeline.evaluate.rows import fixed_rows
from pipeline.evaluate.statistics import (
    PairedFold,
    estimate,
    paired_interval,
    rank_correlations,
    right,
)


def test_ties_are_wrong() -> None:
    """A ranker that gives every video the same score would otherwise look perfect."""
    scores = {"a": 1.0, "b": 1.0, "c": 0.0}
    assert right(scores, [Pair("a", "b"), Pair("a", "c"), Pair("c", "a")]).tolist() == [
        False,
        True,
        False,
    ]


def test_error_is_over_folds_not_over_repetitions() -> None:
    """More seeds of the same folds must not make the result look surer than its folds allow."""
    few = estimate(np.array([[0.6, 0.6], [0.8, 0.8]]))
    many = estimate(np.repeat([[0.6], [0.8]], 50, axis=1))
    for result in (few, many):
        assert result.mean == pytest.approx(0.7)
        # Deviation of (.6, .8) is .1414, over the root of two folds.
        assert result.error == pytest.approx(0.1)
    assert few.seed_deviation == 0


def test_one_fold_takes_the_error_over_seeds() -> None:
    """BEST and MIT-Dive have one split: no error at all would look like certainty."""
    result = estimate(np.array([[0.6, 0.8]]))
    assert result.error == pytest.approx(0.1)
    assert math.isnan(estimate(np.array([[0.6]])).error)
    assert estimate(np.array([[math.nan], [0.5]])).folds == 1


def test_rank_correlations_are_of_order_only() -> None:
    """A monotone change of scores must not change them; too few videos must not give ±1."""
    truth = dict(zip("abcd", [1.0, 2.0, 3.0, 4.0], strict=True))
    scores = {name: math.exp(value) for name, value in truth.items()}
    assert rank_correlations(scores, truth, list("abcd")) == (1.0, 1.0)
    assert math.isnan(rank_correlations(scores, truth, ["a", "b"])[0])


def _fold(rng: np.random.Generator, effect: float, videos: int, seeds: int = 2) -> PairedFold:
    """Two methods of equal noise a video; the one errs less on some videos' pairs."""
    first, second = np.triu_indices(videos, 1)
    hard = rng.random(videos) < 0.3
    chance = 0.7 - 0.3 * (hard[first] | hard[second])
    a = rng.random((seeds, len(first))) < chance + effect
    b = rng.random((seeds, len(first))) < chance
    return PairedFold(np.stack([first, second], 1), a.astype(float) - b)


def test_interval_covers_no_difference_and_finds_a_large_one() -> None:
    """An interval that misses the truth too often would announce winners that are none."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        interval = paired_interval([_fold(rng, 0.0, 12), _fold(rng, 0.0, 12)], 300, trial)
        assert interval.low <= interval.mean <= interval.high
        covered += interval.low <= 0 <= interval.high
    # 95 % is the target; 85 % leaves room for 60 trials and the bootstrap's small samples.
    assert covered >= 51
    assert paired_interval([_fold(rng, 0.3, 20)], 300).low > 0


def test_interval_is_wider_where_pairs_share_videos() -> None:
    """Drawing pairs as if independent would make the interval too narrow."""
    videos = 12
    first, second = np.triu_indices(videos, 1)
    rng = np.random.default_rng(1)
    # The difference is a property of videos: all pairs of a video move together.
    gain = rng.choice([-1.0, 1.0], videos)
    difference = ((gain[first] + gain[second]) / 2)[None]
    shared = paired_interval([PairedFold(np.stack([first, second], 1), difference)], 1000)
    alone = np.arange(2 * len(first)).reshape(-1, 2)  # every pair of two videos of its own
    independent = paired_interval([PairedFold(alone, difference)], 1000)
    assert shared.high - shared.low > 1.5 * (independent.high - independent.low)


def test_attainable_is_of_each_fold_by_itself() -> None:
    """Folds have rankers of their own: a contradiction between two folds binds neither."""
    one, other = Pair("a", "b"), Pair("b", "a")
    apart = fixed_rows([Split([], [one], "1"), Split([], [other], "2")])[1]
    assert (apart.method, apart.accuracy.mean) == ("attainable", 1)
    within = fixed_rows([Split([], [one, other], "1"), Split([], [one], "2")])[1]
    assert within.accuracy.mean == pytest.approx(0.75)


def test_interval_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large sets are drawn in blocks to bound memory; a lost or doubled draw would move the end."""
    folds = [_fold(np.random.default_rng(3), 0.2, 9), _fold(np.random.default_rng(4), 0.0, 7)]
    whole = paired_interval(folds, 150)
    monkeypatch.setattr(evaluation_statistics, "_BLOCK", 500)
    parts = paired_interval(folds, 150)
    # float64 products of other shapes: rounding.
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=1e-12)

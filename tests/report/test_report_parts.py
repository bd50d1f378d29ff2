"""The numbers and shapes behind the page."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from data.judgements.pairs import Pair
from pipeline.evaluate.statistics import Interval
from pipeline.report.accuracy import accuracy_interval, wilson
from pipeline.report.charts import bars, learning_curves, nice_step
from pipeline.report.images import jpeg
from pipeline.report.methods import Method
from pipeline.report.ranking import Ordered, OrderedPairs, Ranked, most_wrong, with_pictures


@pytest.mark.parametrize(("successes", "trials"), [(8, 10), (0, 10), (10, 10), (150, 200), (1, 1)])
def test_wilson_is_scipys_interval(successes: int, trials: int) -> None:
    """Fails if a constant or a sign in the formula is wrong."""
    found = wilson(successes, trials)
    known = binomtest(successes, trials).proportion_ci(method="wilson")
    # Both are float64; only the order of operations differs.
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-12)
    assert found.low <= found.mean <= found.high


def test_accuracy_interval_holds_the_mean_and_knows_that_pairs_share_videos() -> None:
    """Fails if pairs are drawn as if independent: that interval is far too narrow."""
    names = [f"v{i}" for i in range(12)]
    pairs = [Pair(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    # One video is always judged wrongly: whether it is drawn decides the accuracy.
    outcome = np.array([[float(pair.better != "v0") for pair in pairs]])
    found = accuracy_interval([pairs], [outcome], None)
    assert found.mean == pytest.approx(outcome.mean())
    assert found.low < found.mean <= found.high
    narrow = wilson(int(outcome.sum()), outcome.size)
    assert found.high - found.low > narrow.high - narrow.low


def test_groups_are_drawn_in_place_of_videos() -> None:
    """Fails if the group of a subject's videos is ignored."""
    names = [f"v{i}" for i in range(8)]
    pairs = [Pair(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    outcome = np.array([[float(pair.better in ("v0", "v1")) for pair in pairs]])
    groups = {name: f"g{i // 4}" for i, name in enumerate(names)}
    alone = accuracy_interval([pairs], [outcome], None)
    grouped = accuracy_interval([pairs], [outcome], groups)
    assert (alone.low, alone.high) != (grouped.low, grouped.high)


def test_without_folds_a_method_has_students_interval() -> None:
    """Fails if six fold means are trusted as a normal distribution would be."""
    means = {"accuracy": 0.7, "both_unseen": None, "one_unseen": None}
    errors = {"accuracy": 0.02, "both_unseen": None, "one_unseen": None}
    found = Method("full", "variant", means, errors, count=6).value("accuracy")
    # Student's t with 5 degrees of freedom, 97.5 %: 2.570582.
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.7 - 0.0514116, 0.7 + 0.0514116), abs=1e-6)
    assert Method("full", "variant", means, errors).value("both_unseen") is None
    chance = Method("chance", "baseline", means, errors | {"accuracy": None}).value("accuracy")
    assert chance == Interval(0.7, 0.7, 0.7)


def ranked(scores: dict[str, float]) -> list[Ranked]:
    order = sorted(scores, key=lambda key: -scores[key])
    return [Ranked(key, i + 1, scores[key], 0.0, "unseen", 0, 0) for i, key in enumerate(order)]


def test_most_wrong_pairs_come_first_and_once() -> None:
    """Fails if the margin has the wrong sign, or a pair that was judged twice is shown twice."""
    scores = {"a": 3.0, "b": 1.0, "c": -1.0}
    listed = (("a", "b"), ("c", "a"), ("b", "a"), ("c", "a"))
    pairs = tuple(Ordered(x, y, (scores[x], scores[y])) for x, y in listed)
    ordered = OrderedPairs("test", pairs)
    found = most_wrong(ordered, 2)
    assert [(each.better, each.worse, each.margin) for each in found] == [
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
    assert bars([2.0, 0.0, -2.0]) == [(50.0, 50.0), (50.0, 0.0), (0.0, 50.0)]
    assert bars([1.0, 3.0]) == [(0.0, pytest.approx(100 / 3)), (0.0, 100.0)]
    assert bars([0.0]) == [(0.0, 0.0)]


def test_curves_lie_where_the_numbers_are() -> None:
    """Fails if an axis is upside down, or the chosen epoch is marked at another one."""
    history = [
        {"epoch": 1, "train_loss": 0.4, "train_accuracy": 0.5, "validation_loss": 0.3},
        {"epoch": 2, "train_loss": 0.2, "train_accuracy": 1.0, "validation_loss": float("nan")},
        {"epoch": 3, "train_loss": 0.0, "train_accuracy": 1.0, "validation_loss": 0.1},
    ]
    loss, accuracy = learning_curves(history, 2)
    assert loss.lines[0].points == "0.00,0.00 50.00,50.00 100.00,100.00"
    assert loss.lines[1].points == "0.00,25.00 100.00,75.00"
    assert loss.chosen == 50.0
    assert loss.lines[0].last == 0.2
    assert [label for _, label in accuracy.ticks] == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert accuracy.lines[0].points.startswith("0.00,50.00")
    assert learning_curves([], 1) == ()
    assert len(learning_curves(history[:1], 1)) == 2


@pytest.mark.parametrize("top", [1e-6, 0.013, 0.49, 1.0, 7.3, 900.0])
def test_ticks_are_few_and_round(top: float) -> None:
    """Fails if an axis gets dozens of ticks, or none."""
    assert 2 <= top / nice_step(top) <= 4 + 1e-9


def test_pictures_keep_their_proportions_and_never_grow() -> None:
    """Fails if a portrait is squeezed, or a tiny video is blown up."""
    tall = jpeg(np.zeros((400, 100, 3), np.uint8), 192)
    assert (tall.width, tall.height) == (48, 192)
    tiny = jpeg(np.zeros((10, 1000, 3), np.uint8), 50)
    assert (tiny.width, tiny.height) == (50, 1)
    assert jpeg(np.zeros((30, 40, 3), np.uint8), 192).width == 40

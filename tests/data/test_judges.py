"""Several judges: their tables, their majority, their agreement, and the order that they give."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.judgements.agreement import Agreement, Share, agreement
from data.judgements.bradley_terry import fit, order
from data.judgements.comparisons import Comparison, majority, read_comparisons
from data.judgements.options import DatasetOptions
from data.judgements.pairs import Pair
from data.judgements.reading import read_dataset
from tests.judge.test_schedule import run_script

TABLE = """better,worse,judge,time,seconds,tie
a,b,Anna,2026-01-01T10:00:00Z,4.5,no
b,c,Anna,2026-01-01T10:00:09Z,12,yes
a,c,Anna,2026-01-01T10:01:00Z,,
"""


def says(judge: str, better: str, worse: str, tie: bool = False) -> Comparison:
    return Comparison(pair=Pair(better, worse), judge=judge, tie=tie)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_columns_of_the_page_are_read(tmp_path: Path) -> None:
    """A tie that counts as a judgement teaches the ranker a coin's fall."""
    judged = read_comparisons(write(tmp_path / "p.csv", TABLE))
    assert [each.tie for each in judged] == [False, True, False]
    assert [each.seconds for each in judged] == [4.5, 12.0, None]
    assert {each.judge for each in judged} == {"Anna"}
    dataset = read_dataset(tmp_path / "p.csv", divided=False)
    assert dataset.pairs == [Pair("a", "b"), Pair("a", "c")]
    assert dataset.tied == [Pair("b", "c")]


def test_an_unknown_word_for_a_tie_is_refused(tmp_path: Path) -> None:
    """Taken for a decision, it would be one that nobody made."""
    path = write(tmp_path / "p.csv", "better,worse,tie\na,b,perhaps\n")
    with pytest.raises(InputError, match=r"line 2: expected yes or no for 'tie', found 'perhaps'"):
        read_comparisons(path)


def test_a_folder_of_judges_is_one_data_set(tmp_path: Path) -> None:
    """Files of several judges would have to be joined by hand."""
    write(tmp_path / "judges" / "pairs_anna.csv", TABLE)
    write(tmp_path / "judges" / "ben.csv", "better,worse\nb,a\na,c\n")
    dataset = read_dataset(tmp_path / "judges", divided=False)
    assert len(dataset.pairs) == 4
    assert [each.judge for each in dataset.comparisons] == ["ben", "ben", "Anna", "Anna", "Anna"]
    write(tmp_path / "judges" / "scores.csv", "video,score\na,1\n")
    with pytest.raises(InputError, match="not clear"):
        read_dataset(tmp_path / "judges", divided=False)


def test_the_majority_judges_each_pair_once(tmp_path: Path) -> None:
    """A pair that many judged would weigh as much as many pairs."""
    pairs = [Pair("a", "b"), Pair("b", "a"), Pair("a", "b"), Pair("c", "d"), Pair("d", "c")]
    assert majority(pairs, ()) == ([Pair("a", "b")], [Pair("c", "d")])
    assert majority(pairs, [Pair("b", "a")] * 2) == ([], [Pair("a", "b"), Pair("c", "d")])
    lines = "\n".join(f"{pair.better},{pair.worse}" for pair in pairs)
    path = write(tmp_path / "p.csv", f"better,worse\n{lines}\n")
    dataset = read_dataset(path, DatasetOptions(judges="majority"), divided=False)
    assert (dataset.pairs, dataset.ties) == ([Pair("a", "b")], 1)


def test_agreement_between_and_within_judges() -> None:
    """Agreement counted wrongly sets the ranker a false aim."""
    judged = [
        says("A", "a", "b"), says("B", "a", "b"),  # agree
        says("A", "c", "d"), says("B", "d", "c"),  # disagree
        says("A", "e", "f"), says("B", "e", "f", tie=True),  # one is undecided
        says("A", "b", "a"),  # A's repeat, turned round: A's votes cancel
        says("B", "d", "c"),  # B's repeat, as before
    ]  # fmt: skip
    agreed = agreement(judged)
    assert agreed.between is not None
    assert agreed.within is not None
    assert (agreed.between.share, agreed.between.pairs) == (0, 1)
    assert (agreed.within.share, agreed.within.pairs) == (0.5, 2)
    assert [judge.name for judge in agreed.judges] == ["A", "B"]
    assert [judge.ties for judge in agreed.judges] == [0, 1]
    assert Agreement.from_dict(agreed.as_dict()) == agreed
    # Who listed a pair twice is not known: two people, or one.
    unnamed = agreement([says("", "a", "b"), says("", "b", "a")])
    assert not unnamed.known
    assert unnamed.lines() == []


def test_the_attainable_accuracy_is_that_of_judges_with_such_errors() -> None:
    """A bound that is too low lets a ranker pass for perfect, one that is too high for poor."""
    rng = np.random.default_rng(0)
    right, judged = 0.85, []
    for number in range(4000):
        for judge in "AB":
            a, b = f"{number}a", f"{number}b"
            judged.append(says(judge, a, b) if rng.random() < right else says(judge, b, a))
    agreed = agreement(judged)
    assert agreed.attainable is not None
    # The standard error of the agreement of 4000 pairs is .007, of the bound .005.
    assert agreed.attainable.share == pytest.approx(right, abs=0.015)
    assert agreed.attainable.low < right < agreed.attainable.high


def test_an_interval_is_wilsons() -> None:
    """An interval of width 0 would claim certainty after three pairs."""
    share = Share.of([1.0, 1.0, 1.0])
    assert share is not None
    z = 1.959964
    assert share.low == pytest.approx(3 / (3 + z * z), abs=1e-6)
    assert share.high == 1
    assert Share.of([]) is None


def test_the_order_follows_the_judgements() -> None:
    """The wrong end first, or a video that always won without a strength."""
    judged = [says("A", "a", "b")] * 6 + [says("A", "b", "c")] * 6 + [says("A", "a", "c")] * 6
    judged.append(says("A", "d", "b", tie=True))
    places = order(judged)
    assert [place.video for place in places[:1] + places[-1:]] == ["a", "c"]
    assert all(math.isfinite(place.high - place.low) for place in places)
    assert sum(place.strength for place in places) == pytest.approx(0, abs=1e-9)
    assert (places[0].best, places[-1].worst) == (1, 4)
    even = next(place for place in places if place.video == "d")
    assert even.worst - even.best >= 2  # one tie says little
    assert even.comparisons == 1


def test_the_intervals_hold() -> None:
    """Intervals that are too narrow order videos that nobody can tell apart."""
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 2, 12)
    truth -= truth.mean()
    inside = []
    for _ in range(20):
        judged = []
        for _ in range(150):
            a, b = rng.choice(12, 2, replace=False)
            won = rng.random() < 1 / (1 + math.exp(truth[b] - truth[a]))
            judged.append(says("A", f"{a:02}", f"{b:02}") if won else
                          says("A", f"{b:02}", f"{a:02}"))  # fmt: skip
        inside += [place.low < truth[int(place.video)] < place.high for place in order(judged)]
    assert 0.9 <= np.mean(inside) <= 0.99  # of 240, nominally .95


def test_the_page_and_the_program_fit_the_same_strengths(tmp_path: Path) -> None:
    """The page would stop at an order that `inspect --ranking` does not confirm."""
    made = run_script("simulate(8, 30, 0.2, 4)", tmp_path)
    better, worse = (np.array([each[name] for each in made["history"]])
                     for name in ("better", "worse"))  # fmt: skip
    strength, _ = fit(8, better, worse, np.ones(len(better)))
    np.testing.assert_allclose(strength, made["strength"], atol=1e-4)

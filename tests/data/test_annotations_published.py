"""The published annotation files themselves, where they are at hand: exact counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.judgements.options import DatasetOptions
from data.judgements.pairs import check_pairs
from data.judgements.reading import read_dataset
from tests.helpers.places import ROOT

_NEAR = ROOT.resolve().parent / "shared" / "datasets"
DATASETS = Path(os.environ.get("DEXTERANK_SHARED", _NEAR))
EPIC, RAAN = DATASETS / "EPIC-Skills2018", DATASETS / "RAAN" / "data" / "EPIC-Skills"
BEST = DATASETS / "RAAN" / "data" / "BEST"
pytestmark = pytest.mark.skipif(not EPIC.is_dir(), reason="the published files are not here")


@pytest.mark.parametrize(
    ("task", "videos", "pairs", "train"),
    [
        ("chopstick_using", 40, 536, [314, 280, 299, 299]),
        ("dough_rolling", 33, 181, [106, 96, 97, 100]),
        ("hand_drawing", 20, 129, [62, 76, 79, 63]),
        ("sonic_drawing", 20, 118, [65, 64, 69, 64]),
        ("knot_tying", 36, 596, [335, 305, 303, 384]),
        ("needle_passing", 28, 362, [166, 165, 284, 200]),
        ("suturing", 39, 701, [382, 386, 377, 416]),
        ("drawing", 40, 247, [127, 140, 148, 127]),
        ("surgery", 103, 1659, [883, 856, 964, 1000]),
    ],
)
def test_epic_skills_has_the_published_counts(
    task: str, videos: int, pairs: int, train: list[int]
) -> None:
    """Accuracies on other pairs or folds cannot be compared with the paper's."""
    data = read_dataset(EPIC, DatasetOptions(task=task))
    assert (len(data.videos), len(data.pairs)) == (videos, pairs)
    assert [len(fold.train) for fold in data.folds] == train
    for fold in data.folds:
        assert len(fold.train) + len(fold.test) == pairs
        assert sorted(fold.train + fold.test, key=str) == sorted(data.pairs, key=str)


@pytest.mark.parametrize("task", ["chopstick_using", "dough_rolling", "drawing", "surgery"])
def test_epic_skills_test_pairs_hold_a_video_out(task: str) -> None:
    """A test pair of two trained videos would be remembered, not judged."""
    for fold in read_dataset(EPIC, DatasetOptions(task=task)).folds:
        assert min(fold.unseen()) >= 1
        assert not fold.held_out & fold.train_videos


def test_epic_skills_triple_listings_are_the_two_known_ones() -> None:
    """A reader that doubles or drops rows would show here."""
    for task, expected in (("chopstick_using", [3]), ("dough_rolling", [3]), ("suturing", [])):
        report = check_pairs(read_dataset(EPIC, DatasetOptions(task=task)).pairs)
        assert [count for _, count in report.duplicates] == expected
        assert not report.contradictions
        assert report.attainable == 1


def test_every_rolled_dough_has_its_frames() -> None:
    """A video without its segment would be judged on minutes of other kitchen work."""
    dough = read_dataset(EPIC, DatasetOptions(task="dough_rolling"))
    assert sorted(dough.spans) == dough.videos


@pytest.mark.parametrize("task", ["chopstick_using", "dough_rolling", "drawing", "surgery"])
def test_raan_folds_are_the_same_pairs(task: str) -> None:
    """Results on RAAN's files would not be comparable with those on EPIC-Skills'."""
    ours, theirs = (
        read_dataset(RAAN, DatasetOptions(task=task)),
        read_dataset(EPIC, DatasetOptions(task=task)),
    )
    for a, b in zip(ours.folds, theirs.folds, strict=True):
        assert sorted(a.train, key=str) == sorted(b.train, key=str)
        assert sorted(a.test, key=str) == sorted(b.test, key=str)


@pytest.mark.parametrize(
    ("task", "train", "test"),
    [
        ("apply_eyeliner", 2115, 235),
        ("braid_hair", 2179, 234),
        ("origami", 1793, 212),
        ("scrambled_eggs", 1134, 154),
        ("tie_tie", 2176, 233),
    ],
)
def test_best_counts(task: str, train: int, test: int) -> None:
    """BEST: 100 videos a task, 25 of them tested unseen."""
    data = read_dataset(BEST, DatasetOptions(task=task))
    (fold,) = data.folds
    assert (len(data.videos), len(fold.train), len(fold.test)) == (100, train, test)
    assert len(fold.held_out) == 25
    assert set(fold.unseen()) == {2}
    assert len(data.spans) == 100


def test_best_tie_tie_has_one_cycle() -> None:
    """The cyclic judgement in the published files must be found, and cost one pair of 2,409."""
    report = check_pairs(read_dataset(BEST, DatasetOptions(task="tie_tie")).pairs)
    assert [len(group) for group in report.cycles] == [3]
    assert round(report.attainable * 2409) == 2408

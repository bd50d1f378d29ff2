"""A run's own pair accuracies, each with its interval and the kind of its pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.judgements.pairs import Pair, videos_of
from pipeline.evaluate.statistics import Interval, PairedFold, paired_interval, right
from pipeline.runs.training_accuracy import training_accuracy

if TYPE_CHECKING:
    from pipeline.report.sources import Sources

_DRAWS = 2000
# Draws times pairs that a bootstrap holds in memory at once, 8 bytes each.
_MOST_DRAWN = 20_000_000
_UNUSED = "never used in training"
_CHOSE = "chose the epoch, so the accuracy is optimistic"
_FITTED = "trained on; says nothing about other videos"


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracy on one kind of pairs.

    Attributes
    ----------
    kind : str
        "test", "validation" or "training".
    label, note : str
        Which pairs, and what their accuracy says.
    share : float
        Share of pairs in the right order, in [0, 1].
    pairs : int
        Number of pairs.
    interval : Interval or None
        95 %; None for training pairs, where it would mean nothing.
    """

    kind: str
    label: str
    note: str
    share: float
    pairs: int
    interval: Interval | None = None


def run_accuracies(sources: Sources) -> list[Accuracy]:
    """Return a run's accuracies, best evidence first; none where the run has no record."""
    record, run = sources.record, sources.run
    if record is None:
        return []
    scores = dict(zip(run.keys, run.scores, strict=True))
    rows = []
    note = _CHOSE if run.train.protocol == "authors" else _UNUSED
    for label, pairs in _test_parts(record.test, set(run.training_videos)).items():
        rows.append(_accuracy("test", label, note, scores, pairs))
    if record.validation:
        rows.append(_accuracy("validation", "validation pairs", _CHOSE, scores, record.validation))
    if record.train:
        share = training_accuracy(scores, record.train)
        rows.append(
            Accuracy(
                kind="training",
                label="training pairs",
                note=_FITTED,
                share=share,
                pairs=len(record.train),
            )
        )
    return rows


def _test_parts(test: Sequence[Pair], trained: set[str]) -> dict[str, Sequence[Pair]]:
    """Return all test pairs, and apart those with two and with one unseen video, by label."""
    unseen = [len({pair.better, pair.worse} - trained) for pair in test]
    parts: dict[str, Sequence[Pair]] = {}
    whole = "all test pairs"
    for count, label in ((2, "both videos unseen"), (1, "one video unseen")):
        some = [pair for pair, number in zip(test, unseen, strict=True) if number == count]
        if some and len(some) == len(test):
            whole = f"{whole}, {label}"
        elif some:
            parts[f"of these, {label}"] = some
    return {whole: test, **parts} if test else {}


def _accuracy(
    kind: str, label: str, note: str, scores: Mapping[str, float], pairs: Sequence[Pair]
) -> Accuracy:
    outcome = right(scores, pairs).astype(float)
    return Accuracy(
        kind=kind,
        label=label,
        note=note,
        share=float(outcome.mean()),
        pairs=len(pairs),
        interval=accuracy_interval([pairs], [outcome[None]], None),
    )


def accuracy_interval(
    folds: Sequence[Sequence[Pair]],
    outcomes: Sequence[np.ndarray],
    groups: Mapping[str, str] | None,
) -> Interval:
    """Return mean accuracy over folds with a 95 % bootstrap interval over videos and seeds.

    Parameters
    ----------
    folds : sequence of lists of Pair
        Test pairs of each fold.
    outcomes : sequence of ndarray (S, P)
        1 where a seed's ranker put a pair in the right order, else 0.
    groups : mapping, optional
        Group of each video; groups are drawn instead of videos.

    Notes
    -----
    There are 2000 draws, fewer if so many pairs would take too much memory.
    """
    names = {name: groups[name] if groups else name for fold in folds for name in videos_of(fold)}
    draws = max(100, min(_DRAWS, _MOST_DRAWN // max(map(len, folds))))
    number = {label: i for i, label in enumerate(sorted(set(names.values())))}
    return paired_interval(
        [
            PairedFold(
                np.array([[number[names[p.better]], number[names[p.worse]]] for p in pairs]), each
            )
            for pairs, each in zip(folds, outcomes, strict=True)
        ],
        draws,
    )

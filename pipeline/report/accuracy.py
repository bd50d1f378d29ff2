"""A run's own pair accuracies, each with its interval and the kind of pairs it is of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError
from data.judgements.pairs import Pair, videos_of
from pipeline.evaluate.statistics import Interval, PairedFold, paired_interval, right
from pipeline.runs.folder import RECORD

if TYPE_CHECKING:
    from data.judgements.options import DatasetOptions
    from pipeline.report.sources import Sources

_DRAWS = 2000
# Draws times pairs that a bootstrap holds in memory at once, 8 bytes each.
_MOST_DRAWN = 20_000_000
# Standard normal quantile of 97.5 %.
_Z = 1.959963984540054
FLATTERS = "the epoch was chosen on them, so they flatter"


@dataclass(frozen=True)
class RunPairs:
    """The pairs of a run, by what they were used for.

    Attributes
    ----------
    train, validation, test : list of Pair
    exact : bool
        Whether the run recorded them. Otherwise they were told apart by the videos that the run
        trained on: pairs of two such videos count as training pairs.
    """

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
    exact: bool

    def shown(self) -> tuple[str, list[Pair]]:
        """Return the pairs that say most about new videos, and what they are."""
        for kind in ("test", "validation"):
            if pairs := getattr(self, kind):
                return kind, pairs
        return "training", self.train


@dataclass(frozen=True)
class Measured:
    """Accuracy on one kind of pairs.

    Attributes
    ----------
    kind : str
        "training", "validation" or "test".
    label, note : str
        What the pairs are, and how far the number goes.
    share : float
        Of pairs ordered rightly, in [0, 1].
    pairs : int or None
        How many there are, where that is known.
    interval : Interval or None
        95 %; None for training pairs, where it would mean nothing.
    method : str
        How the interval was made.
    """

    kind: str
    label: str
    note: str
    share: float
    pairs: int | None = None
    interval: Interval | None = None
    method: str = ""


def find_pairs(
    sources: Sources, given: Path | None, options: DatasetOptions | None
) -> RunPairs | None:
    """Return a run's pairs as it recorded them, or as a file of judgements lets them be told.

    Raises
    ------
    InputError
        The file cannot be read, or names none of the run's videos.
    """
    record = sources.record
    if record is not None:
        named = set(videos_of([*record.train, *record.validation, *record.test]))
        if other := sorted(named - set(sources.run.keys)):
            raise InputError(
                f"{sources.folder / RECORD}: names videos that the run has not scored, e.g. "
                f"{other[0]}; delete it, and the page is written without it"
            )
        return RunPairs(record.train, record.validation, record.test, exact=True)
    if given is None:
        return None
    pairs = read_named_pairs(given, options, sources.run.keys)
    trained = set(sources.run.training_videos)
    parted: dict[bool, list[Pair]] = {True: [], False: []}
    for pair in pairs:
        parted[pair.better in trained and pair.worse in trained].append(pair)
    return RunPairs(parted[True], [], parted[False], exact=False)


def read_named_pairs(
    given: Path, options: DatasetOptions | None, keys: Sequence[str]
) -> list[Pair]:
    """Read judgements and name them by key; pairs of other videos are left out."""
    from data.judgements.options import DatasetOptions
    from data.judgements.reading import read_with_options

    dataset = read_with_options(given, options or DatasetOptions())
    known = dataset.match(keys).keys
    pairs = [
        Pair(known[pair.better], known[pair.worse])
        for pair in dataset.pairs
        if pair.better in known and pair.worse in known
    ]
    if not pairs:
        raise InputError(f"{given}: none of its {len(dataset.pairs)} pairs names the run's videos")
    return pairs


def run_accuracies(sources: Sources, pairs: RunPairs | None) -> list[Measured]:
    """Return the run's accuracies, best evidence first: test, validation, training."""
    if pairs:
        found = _from_pairs(sources, pairs)
    else:
        told = {**sources.about, "pairs": {}, **sources.metrics}
        found = _from_metrics(told, sources.run.train.protocol == "authors")
    order = {"test": 0, "validation": 1, "training": 2}
    return sorted(found, key=lambda each: order[each.kind])


def _from_pairs(sources: Sources, pairs: RunPairs) -> list[Measured]:
    run = sources.run
    scores = dict(zip(run.keys, run.scores, strict=True))
    trained = set(run.training_videos)
    authors = run.train.protocol == "authors"
    found = []
    if pairs.test:
        found.append(_bootstrapped("test", "all test pairs", authors, scores, pairs.test))
        for count, label in ((2, "both videos unseen"), (1, "one video unseen")):
            some = [p for p in pairs.test if len({p.better, p.worse} - trained) == count]
            if some and len(some) < len(pairs.test):
                found.append(_bootstrapped("test", f"of these, {label}", authors, scores, some))
            elif some:
                found[0] = _bootstrapped(
                    "test", f"all test pairs, {label}", authors, scores, pairs.test
                )
    if pairs.validation:
        found.append(
            _bootstrapped("validation", "validation pairs", True, scores, pairs.validation)
        )
    if pairs.train:
        share = float(right(scores, pairs.train).mean())
        label = "training pairs" if pairs.exact else "pairs of two training videos"
        found.append(Measured("training", label, _SEEN, share, len(pairs.train)))
    return found


_SEEN = "fitted on; says nothing about other videos"


def _bootstrapped(
    kind: str, label: str, chosen_on: bool, scores: Mapping[str, float], pairs: Sequence[Pair]
) -> Measured:
    outcome = right(scores, pairs).astype(float)
    interval = accuracy_interval([pairs], [outcome[None]], None)
    note = FLATTERS if chosen_on else "never used in training"
    return Measured(
        kind, label, note, float(outcome.mean()), len(pairs), interval, "bootstrap over videos"
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
        1 where a seed's ranker ordered a pair rightly, else 0.
    groups : mapping, optional
        Group of each video; groups are drawn in place of videos.

    Notes
    -----
    There are 2000 draws, fewer where so many pairs would take too much memory.
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


def _from_metrics(metrics: Mapping[str, object], authors: bool) -> list[Measured]:
    """Return what the run itself measured; without its pairs only Wilson's interval is left."""
    shares, counts = metrics.get("accuracy"), metrics.get("pairs")
    if not isinstance(shares, Mapping):
        return []
    counts = counts if isinstance(counts, Mapping) else {}
    found = []
    for name, share in shares.items():
        part, _, rest = str(name).partition(", ")
        kind = {"train": "training", "validation": "validation"}.get(part, "test")
        label = f"of these, {rest.replace('both', 'both videos').replace('one', 'one video')}"
        label = label if rest else "all test pairs" if kind == "test" else f"{kind} pairs"
        count = None if rest else counts.get(part)
        chosen = kind == "validation" or authors
        note = _SEEN if kind == "training" else FLATTERS if chosen else "never used in training"
        interval = None
        if count and kind != "training":
            interval = wilson(round(share * count), count)
        told = "Wilson; too narrow, as pairs share videos" if interval else ""
        found.append(Measured(kind, label, note, float(share), count, interval, told))
    return found


def wilson(successes: int, trials: int) -> Interval:
    """Return a share with Wilson's 95 % interval, as if trials were independent.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal
    of the American Statistical Association 22 (1927), doi:10.1080/01621459.1927.10502953.
    """
    share = successes / trials
    scale = 1 + _Z**2 / trials
    centre = (share + _Z**2 / (2 * trials)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / trials + (_Z / (2 * trials)) ** 2)
    # At 0 and 1 the ends coincide with the share; rounding may put them a hair beside it.
    return Interval(share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))

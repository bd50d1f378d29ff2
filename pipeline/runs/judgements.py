"""Judgements matched with feature caches: pairs, groups and judged parts by cache key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from data.judgements.agreement import Agreement, agreement
from data.judgements.dataset import Dataset, Span
from data.judgements.options import DatasetOptions
from data.judgements.pairs import Pair, check_pairs
from data.judgements.reading import read_dataset
from data.judgements.splits import Split
from pipeline.runs.cache_keys import Missing, by_key, known_keys, pairs_by_key, rename_pairs
from pipeline.shell.console import log
from pipeline.shell.flags import option
from pipeline.shell.words import counted

if TYPE_CHECKING:
    from data.cache.features import FeatureCache


# A file whose length is below this share of its part's end has been cut to the part already.
_SLACK = 0.98


@dataclass(frozen=True, kw_only=True)
class JudgementOptions:
    """What to do about judgements that contradict each other or name unknown videos."""

    missing: Missing = option(
        "Judged videos without features, or misspelt: refuse, or leave their pairs out and report "
        "how many.",
        default="error",
    )
    ties: float = option(
        "Weight of a tie in training, against a decided pair: the scores of its videos are drawn "
        "together. 0 leaves ties out. They are never tested on.",
        default=0.0,
        metavar="WEIGHT",
        min=0,
    )
    strict: bool = option(
        "Refuse pairs that contradict each other or form cycles. Otherwise they are reported, with "
        "the accuracy that they leave attainable, and used.",
        default=False,
    )


@dataclass(frozen=True, kw_only=True)
class Judgements:
    """Training and test pairs by cache key, and what else is known of their videos.

    Attributes
    ----------
    train, test : list of Pair
    groups : dict of str to str, or None
        Subject of each video, where names contain it.
    spans : dict of str to Span
        Judged parts of videos of which not all was judged.
    tied : list of Pair
        Undecided comparisons.
    agreement : Agreement or None
        Of the judges, where the judgements say anything about it.
    """

    train: list[Pair]
    test: list[Pair] = field(default_factory=list)
    groups: Mapping[str, str] | None = None
    spans: Mapping[str, Span] = field(default_factory=dict)
    tied: list[Pair] = field(default_factory=list)
    agreement: Agreement | None = None


def read_judgements(
    features: Path,
    pairs: Path,
    dataset: DatasetOptions,
    *,
    fold: int = 0,
    test_pairs: Path | None = None,
    missing: Missing = "error",
    ties: float = 0.0,
    training_only: bool = False,
) -> Judgements:
    """Read pairs, or one fold of a data set, and name them by the keys of the caches.

    Parameters
    ----------
    features : Path
        Folder of the caches.
    pairs, test_pairs : Path
        Judgements; those of `test_pairs` are tested on.
    fold : int
        Counted from 1; 0 trains on all pairs.
    ties : float
        Weight of a tie.
    training_only : bool
        Leave out the fold's test pairs, so that their videos need no cache.

    Raises
    ------
    InputError
        A file that cannot be read, no such fold, or names without a cache.
    """
    from data.cache.folder import find_caches, no_features
    from pipeline.runs.same_videos import SameVideos

    keys = list(find_caches(features, "features"))
    if not keys:
        raise no_features(features)
    if fold and test_pairs:
        raise InputError("--fold brings test pairs of its own; leave --test-pairs out")
    same = SameVideos(features, keys)
    content = read_dataset(pairs, dataset, divided=fold > 0, same=same.labels)
    if fold > len(content.folds):
        raise InputError(f"--fold {fold}: {pairs} has {len(content.folds)} folds")
    known = known_keys(pairs, content, keys, ties)
    split = content.folds[fold - 1] if fold else Split(content.pairs, [], "")
    train = pairs_by_key(pairs, split.train, known, missing)
    if test_pairs:
        tested = read_dataset(test_pairs, DatasetOptions(), divided=False)
        test_keys = known_keys(test_pairs, tested, keys)
        test = pairs_by_key(test_pairs, tested.pairs, test_keys, missing)
    else:
        test = [] if training_only else pairs_by_key(pairs, split.test, known, missing)
    same.report([Split(train, test, split.name)])
    groups = by_key(content.groups or {}, known)
    return Judgements(
        train=train,
        test=test,
        groups=groups or None,
        spans=by_key(content.spans, known),
        tied=rename_pairs(content.tied, known),
        agreement=known_agreement(content),
    )


def known_agreement(dataset: Dataset) -> Agreement | None:
    """Return the agreement of the judges; None where the judgements say nothing about it."""
    if not dataset.comparisons:
        return None
    agreed = agreement(dataset.comparisons)
    return agreed if agreed.known else None


def report_faults(pairs: Sequence[Pair], strict: bool, name: str) -> None:
    """Report contradictory pairs and cycles with counts, examples and the attainable accuracy.

    Repeated pairs, and groups of videos that no pair connects, are not faults; they are logged.

    Parameters
    ----------
    pairs : sequence of Pair
    strict : bool
        Refuse faults.
    name : str
        What the report calls the pairs, e.g. "training pairs".

    Raises
    ------
    InputError
        There are contradictions or cycles, and `strict` is set.
    """
    report = check_pairs(pairs)
    if not report.cycles:  # Two videos judged both ways are the shortest cycle.
        for line in report.lines()[1:-1]:
            log.info("%s: %s", name, line)
        return
    message = f"{name}: {'; '.join(report.lines()[1:])}"
    if strict:
        raise InputError(f"{message}; leave out what is wrong, or use them all without --strict")
    log.warning("%s", message)


def judged_part(cache: FeatureCache, span: Span) -> tuple[int, int] | None:
    """Return a judged part's first frame and the one after its last; None: it is the whole file.

    A file that is too short to contain the part has been cut to it already.

    Raises
    ------
    InputError
        The part is given in seconds, and the cache has no time stamps.
    """
    rate, decoded = 1.0, cache.header.decoded_frames
    if span.unit == "seconds":
        passed = cache.time > 0
        if not passed.any():
            raise InputError(f"{cache.path}: no time stamps to find the judged seconds by")
        import numpy as np  # Help needs this module.

        rate = float(np.median(cache.frame_index[passed] / cache.time[passed]))
    end = decoded if span.end is None else int(span.end * rate) + 1
    if decoded < _SLACK * end:
        return None
    return int((span.start or 0) * rate), min(end, decoded)


def describe(dataset: Dataset) -> list[str]:
    """Return what a data set contains: videos, pairs, faults, folds; one line each."""
    lines = [dataset.name, *check_pairs(dataset.pairs).lines()]
    if dataset.ties:
        lines.append(counted(dataset.ties, "tie"))
    if dataset.groups:
        lines.append(f"{len(set(dataset.groups.values()))} groups (subjects) in the names")
    if dataset.spans:
        lines.append(f"{len(dataset.spans)} videos of which only a part was judged")
    lines.append(f"folds ({dataset.folds_source}):")
    for fold in dataset.folds:
        unseen = fold.unseen()
        lines.append(
            f"  {fold.name}: {len(fold.train)} training pairs of {len(fold.train_videos)} videos; "
            f"{len(fold.test)} test pairs: {unseen.count(2)} with both videos unseen, "
            f"{unseen.count(1)} with one"
            + (f", {unseen.count(0)} with none" if 0 in unseen else "")
        )
    return lines

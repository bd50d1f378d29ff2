"""The judgements a ranker is trained on: read, matched with the features, their faults reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from data.errors import InputError
from data.judgements.options import DatasetOptions
from pipeline.shell.console import log

if TYPE_CHECKING:
    from data.judgements.dataset import Dataset, Span
    from data.judgements.pairs import Pair

Missing = Literal["error", "skip"]


@dataclass(frozen=True)
class JudgementOptions:
    """What to do about judgements that contradict each other or name unknown videos."""

    missing: Missing = field(
        default="error",
        metadata={
            "help": "Judged videos without features, or misspelt: refuse, or leave their pairs "
            "out and say how many."
        },
    )
    strict: bool = field(
        default=False,
        metadata={
            "help": "Refuse pairs that contradict each other or form cycles. Otherwise they are "
            "reported, with the accuracy that they leave attainable, and used."
        },
    )


@dataclass(frozen=True)
class Judgements:
    """Training and test pairs by cache key, and what else is known of their videos.

    Attributes
    ----------
    train, test : list of Pair
    groups : dict of str to str, or None
        Subject of each video, where names tell.
    spans : dict of str to Span
        Judged parts of videos of which not all was judged.
    """

    train: list[Pair]
    test: list[Pair]
    groups: dict[str, str] | None = None
    spans: Mapping[str, Span] = field(default_factory=dict)


def read_judgements(
    features: Path,
    pairs: Path,
    test_pairs: Path | None,
    options: DatasetOptions,
    fold: int,
    missing: Missing = "error",
) -> Judgements:
    """Read pairs, or one fold of a data set, and name them by the keys of the caches.

    Raises
    ------
    InputError
        A file that cannot be read, no such fold, or names without a cache.
    """
    from data.cache.folder import find_caches
    from data.judgements.reading import read_dataset

    keys = list(find_caches(features, "features"))
    if not keys:
        raise InputError(f"{features}: no feature caches; run extract-features first")
    if fold and test_pairs:
        raise InputError("--fold brings test pairs of its own; leave --test-pairs out")
    dataset = read_dataset(pairs, options, divided=fold > 0)
    if fold > len(dataset.folds):
        raise InputError(f"--fold {fold}: {pairs} has {len(dataset.folds)} folds")
    known = dataset.match(keys).keys
    train = dataset.folds[fold - 1].train if fold else dataset.pairs
    test, known_test = (dataset.folds[fold - 1].test if fold else []), known
    if test_pairs:
        tested = read_dataset(test_pairs, DatasetOptions(), divided=False)
        test, known_test = tested.pairs, tested.match(keys).keys
    groups = {known[name]: each for name, each in (dataset.groups or {}).items() if name in known}
    return Judgements(
        match_pairs(train, keys, pairs, known, missing),
        match_pairs(test, keys, test_pairs or pairs, known_test, missing),
        groups or None,
        spans_by_key(dataset, known),
    )


def spans_by_key(dataset: Dataset, known: Mapping[str, str]) -> dict[str, Span]:
    """Return the judged parts of a data set's videos by cache key."""
    return {known[name]: span for name, span in dataset.spans.items() if name in known}


def match_pairs(
    pairs: Sequence[Pair],
    keys: Sequence[str],
    where: Path,
    known: Mapping[str, str] | None = None,
    missing: Missing = "error",
) -> list[Pair]:
    """Return pairs with cache keys in place of the annotation's names.

    Parameters
    ----------
    known : mapping, optional
        Name to key, where the data set says; otherwise names are matched with the keys.
    missing : {"error", "skip"}
        Refuse names without a cache, or leave their pairs out with a warning.

    Raises
    ------
    InputError
        Names without a cache, with how many and examples; or no pair is left.
    """
    from data.judgements.dataset import Dataset
    from data.judgements.pairs import Pair, videos_of

    if known is None:
        try:
            known = Dataset(str(where), list(pairs), []).match(keys).keys
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    names = videos_of(pairs)
    unknown = [name for name in names if name not in known]
    told = (
        f"{where}: {len(unknown)} of {len(names)} videos have no feature cache, e.g. "
        f"{', '.join(unknown[:3])}"
    )
    if unknown and missing == "error":
        raise InputError(
            f"{told}; mend the names, run extract-features on them, or leave their pairs out "
            "with --missing skip"
        )
    matched = [
        Pair(known[pair.better], known[pair.worse])
        for pair in pairs
        if pair.better in known and pair.worse in known
    ]
    if unknown and not matched:
        raise InputError(f"{told}, and no pair is left without them")
    if unknown:
        log.warning("%s: %d of %d pairs left out", told, len(pairs) - len(matched), len(pairs))
    return matched


def report_faults(pairs: Sequence[Pair], strict: bool, what: str) -> None:
    """Report contradictory pairs and cycles with counts, examples and the attainable accuracy.

    Repeated pairs, and groups of videos that no pair connects, are no faults, but are told too.

    Parameters
    ----------
    pairs : sequence of Pair
    strict : bool
        Refuse them.
    what : str
        Names the pairs in the report, e.g. "training pairs".

    Raises
    ------
    InputError
        There are contradictions or cycles, and `strict` is set.
    """
    from data.judgements.pairs import check_pairs

    report = check_pairs(pairs)
    if not report.cycles:  # Two videos judged both ways are the shortest cycle.
        for line in report.lines()[1:-1]:
            log.info("%s: %s", what, line)
        return
    told = f"{what}: {'; '.join(report.lines()[1:])}"
    if strict:
        raise InputError(f"{told}; leave out what is wrong, or use them all without --strict")
    log.warning("%s", told)


def describe(dataset: Dataset) -> list[str]:
    """Return what there is to know of a data set: videos, pairs, faults, folds."""
    from data.judgements.pairs import check_pairs

    lines = [dataset.name, *check_pairs(dataset.pairs).lines()]
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

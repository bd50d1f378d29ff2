"""Names of judged videos to the keys of their feature caches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from data.errors import InputError
from data.judgements.dataset import Dataset
from data.judgements.pairs import Pair, videos_of
from pipeline.shell.console import log
from pipeline.shell.words import counted

Missing = Literal["error", "skip"]
Value = TypeVar("Value")


def known_keys(
    path: Path, dataset: Dataset, keys: Collection[str], ties: float = 0.0
) -> dict[str, str]:
    """Return the cache key of each name that has one; an error names the file.

    Undecided comparisons, and names that only the ends of paths match, are reported.
    """
    try:
        matching = dataset.match(keys)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    for note in matching.notes():
        log.warning("%s: %s", path, note)
    if dataset.ties and ties:
        log.info("%s: %s, each of weight %g in training", path, counted(dataset.ties, "tie"), ties)
    elif dataset.ties:
        log.warning("%s: %s left out", path, counted(dataset.ties, "tie"))
    return matching.keys


def by_key(values: Mapping[str, Value], known: Mapping[str, str]) -> dict[str, Value]:
    """Return values by cache key instead of by name, without videos that have no cache."""
    return {known[name]: value for name, value in values.items() if name in known}


def rename_pairs(pairs: Sequence[Pair], known: Mapping[str, str]) -> list[Pair]:
    """Return pairs by cache key, without pairs of videos that have no cache."""
    return [
        Pair(known[pair.better], known[pair.worse])
        for pair in pairs
        if pair.better in known and pair.worse in known
    ]


def videos_without_cache(
    path: Path, pairs: Sequence[Pair], known: Mapping[str, str], missing: Missing
) -> list[str]:
    """Return the judged videos without a cache, where these may be skipped.

    Raises
    ------
    InputError
        Videos without a cache may not be skipped; gives their number and examples.
    """
    names = videos_of(pairs)
    unknown = [name for name in names if name not in known]
    if unknown and missing == "error":
        raise InputError(
            f"{path}: {_counted(unknown, names)}; fix the names, run extract-features on them, or "
            "leave their pairs out with --missing skip"
        )
    return unknown


def pairs_by_key(
    path: Path, pairs: Sequence[Pair], known: Mapping[str, str], missing: Missing = "error"
) -> list[Pair]:
    """Return pairs by cache key; refuse videos without a cache, or leave their pairs out.

    Raises
    ------
    InputError
        Videos without a cache may not be skipped, or no pair is left without them.
    """
    unknown = videos_without_cache(path, pairs, known, missing)
    matched = rename_pairs(pairs, known)
    if unknown:
        message = f"{path}: {_counted(unknown, videos_of(pairs))}"
        if not matched:
            raise InputError(f"{message}, and no pair is left without them")
        left_out = len(pairs) - len(matched)
        log.warning("%s: %d of %d pairs left out", message, left_out, len(pairs))
    return matched


def _counted(unknown: Sequence[str], names: Sequence[str]) -> str:
    return (
        f"{len(unknown)} of {len(names)} videos have no feature cache, e.g. "
        f"{', '.join(unknown[:3])}"
    )

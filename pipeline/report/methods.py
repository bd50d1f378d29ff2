"""The methods of an evaluation, with intervals and folds where these lead to the table's means."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluate.baselines import training_sign
from pipeline.evaluate.statistics import Interval, right
from pipeline.report.accuracy import accuracy_interval
from pipeline.runs.record import FoldsRecord

# Recomputed means agree with the table's to rounding, if folds and table belong together.
_SAME = 1e-9
_PARTS = ("accuracy", "both_unseen", "one_unseen")


@dataclass(frozen=True)
class Method:
    """A row: a trained variant, a baseline, or a bound.

    Attributes
    ----------
    name, kind : str
        As in the table.
    means, errors : dict of str to float or None
        Of "accuracy", "both_unseen" and "one_unseen", as shares; standard errors of the means.
    count : int
        Folds that the means are of.
    intervals : dict of str to Interval
        95 %, of the same; where the folds are known.
    folds : tuple of dict
        The same three of each fold, means over seeds; where the folds are known.
    published : float or None
        Per cent.
    """

    name: str
    kind: str
    means: dict[str, float | None]
    errors: dict[str, float | None]
    count: int = 1
    intervals: dict[str, Interval] = field(default_factory=dict)
    folds: tuple[dict[str, float | None], ...] = ()
    published: float | None = None

    def value(self, part: str) -> Interval | None:
        """Return a part's mean and 95 % interval: bootstrapped, or Student's for the fold means."""
        from scipy.stats import t

        mean, error = self.means[part], self.errors[part]
        if part in self.intervals or mean is None:
            return self.intervals.get(part)
        half = 0.0
        if error is not None and self.count > 1:
            half = float(t.ppf(0.975, self.count - 1)) * error
        return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def methods_of(
    rows: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    record: FoldsRecord | None,
    folder: Path,
) -> tuple[tuple[Method, ...], bool]:
    """Return the table's rows, and whether the recorded folds lead to the table's means.

    Only then the rows have folds and bootstrapped intervals.
    """
    plain = [_method(row) for row in rows]
    if record is None:
        return tuple(plain), False
    measured = _baselines(folder)
    full = []
    for method in plain:
        scored = _scored(method, record, runs, measured)
        full.append(_with_folds(method, record, scored) if scored else method)
    known = [each for each in full if each.kind == "variant"]
    if known and all(each.folds for each in known):
        return tuple(full), True
    return tuple(plain), False


def _method(row: Mapping[str, Any]) -> Method:
    means = {part: as_number(row[part]["mean"]) for part in _PARTS}
    errors = {part: as_number(row[part]["error"]) for part in _PARTS}
    published = as_number(row.get("published"))
    count = max(int(row[part]["folds"]) for part in _PARTS)
    return Method(str(row["method"]), str(row["kind"]), means, errors, count, published=published)


def as_number(value: Any) -> float | None:
    """Return a number of a table, or None where it has none."""
    return None if value is None else float(value)


def scores_of(
    variant: str, record: FoldsRecord, runs: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Mapping[str, float], ...], ...]:
    """Return a variant's scores of each fold and seed; empty where it was not evaluated."""
    mine = [run for run in runs if run["variant"] == variant]
    found = [tuple(run["scores"] for run in mine if run["fold"] == s.name) for s in record.splits]
    return tuple(found) if all(found) else ()


def _scored(
    method: Method,
    record: FoldsRecord,
    runs: Sequence[Mapping[str, Any]],
    measured: Mapping[str, Mapping[str, float]],
) -> list[list[Mapping[str, float]]]:
    """Return scores of each fold and seed; nothing for chance and bounds."""
    if method.kind == "variant":
        return [list(seeds) for seeds in scores_of(method.name, record, runs)]
    values = measured.get(method.name.removesuffix(" (baseline)"))
    if values is None:
        return []
    signs = [training_sign(values, split.train) for split in record.splits]
    return [[{key: sign * value for key, value in values.items()}] for sign in signs]


def _with_folds(
    method: Method, record: FoldsRecord, scored: Sequence[Sequence[Mapping[str, float]]]
) -> Method:
    """Add folds and intervals; unchanged where they do not lead to the method's mean."""
    try:
        right_of = [
            np.array([right(scores, split.test) for scores in seeds], float)
            for split, seeds in zip(record.splits, scored, strict=True)
        ]
    except KeyError:  # Other videos than those of the evaluation.
        return method
    if not all(each.size for each in right_of):
        return method
    counts = [np.array(split.unseen()) for split in record.splits]
    folds: list[dict[str, float | None]] = [{} for _ in record.splits]
    intervals = {}
    for part, wanted in zip(_PARTS, (None, 2, 1), strict=True):
        kept = [np.full(len(c), True) if wanted is None else c == wanted for c in counts]
        for fold, each, keep in zip(folds, right_of, kept, strict=True):
            fold[part] = float(each[:, keep].mean()) if keep.any() else None
        some = [i for i, keep in enumerate(kept) if keep.any()]
        if some:
            intervals[part] = accuracy_interval(
                [[p for p, k in zip(record.splits[i].test, kept[i], strict=True) if k]
                 for i in some],
                [right_of[i][:, kept[i]] for i in some],
                record.groups,
            )  # fmt: skip
    told = method.means["accuracy"]
    if told is None or not math.isclose(intervals["accuracy"].mean, told, abs_tol=_SAME):
        return method
    return replace(method, intervals=intervals, folds=tuple(folds))


def _baselines(folder: Path) -> dict[str, dict[str, float]]:
    path = folder / "baselines.csv"
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name != "video"]
    return {name: {row["video"]: float(row[name]) for row in rows} for name in names}

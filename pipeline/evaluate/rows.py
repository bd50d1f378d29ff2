"""The rows of the table: variants, baselines, bounds, and the tasks of merged sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from data.judgements.pairs import Pair, check_pairs
from data.judgements.splits import Split
from pipeline.evaluate import published
from pipeline.evaluate.statistics import (
    Estimate,
    Interval,
    Scored,
    accuracies,
    estimate,
    rank_correlations,
)
from pipeline.evaluate.tables import TableRow


def variant_row(
    variant: str,
    splits: Sequence[Split],
    scored: Scored,
    truth: Mapping[str, float] | None,
    *,
    known: str | None,
    difference: Interval | None,
) -> TableRow:
    """Return the row of a trained variant; `known` names a data set with published numbers."""
    row = _row(variant, "variant", splits, scored, truth)
    return replace(row, published=published.accuracy(variant, known), difference=difference)


def baseline_row(
    name: str, splits: Sequence[Split], scored: Scored, truth: Mapping[str, float] | None
) -> TableRow:
    """Return the row of a baseline."""
    return _row(f"{name} (baseline)", "baseline", splits, scored, truth)


def task_rows(
    row: TableRow,
    splits: Sequence[Split],
    scored: Scored,
    truth: Mapping[str, float] | None,
    tasks: Mapping[str, str],
) -> list[TableRow]:
    """Return rows of a method for each task of a merged set; none for a single task.

    The rankers are those of the merged set; only the pairs that are counted differ.
    """
    rows = []
    for task in dict.fromkeys(tasks[name] for name in sorted(tasks)):
        own = [of_task(split, task, tasks) for split in splits]
        rows.append(replace(_row(row.method, row.kind, own, scored, truth), task=task))
    return rows


def of_task(split: Split, task: str, tasks: Mapping[str, str]) -> Split:
    """Return the pairs of one task of a merged set."""

    def own(pairs: Sequence[Pair]) -> list[Pair]:
        return [pair for pair in pairs if tasks.get(pair.better) == task]

    return Split(own(split.train), own(split.test), split.name)


def fixed_rows(splits: Sequence[Split]) -> list[TableRow]:
    """Return the rows of chance and of the highest accuracy that a ranking of each fold reaches."""

    def row(method: str, kind: str, accuracy: float, of_parts: float) -> TableRow:
        whole, part = (Estimate(value, math.nan, math.nan, 1) for value in (accuracy, of_parts))
        return TableRow(method=method, kind=kind, accuracy=whole, both_unseen=part, one_unseen=part)

    bounds = [check_pairs(split.test).attainable for split in splits]
    name = "attainable" if min(bounds) == 1 else "attainable, at most"
    return [
        row("chance (baseline)", "baseline", 0.5, 0.5),
        row(name, "bound", float(np.mean(bounds)), math.nan),
    ]


def _row(
    method: str,
    kind: str,
    splits: Sequence[Split],
    scored: Scored,
    truth: Mapping[str, float] | None,
) -> TableRow:
    kendall = spearman = None
    if truth is not None:
        both = np.array(
            [
                [
                    rank_correlations(scores, truth, sorted(split.held_out & truth.keys()))
                    for scores in seeds
                ]
                for split, seeds in zip(splits, scored, strict=True)
            ]
        )
        kendall, spearman = (_estimate(both[:, :, i], kind) for i in (0, 1))
    return TableRow(
        method=method,
        kind=kind,
        accuracy=_estimate(accuracies(splits, scored), kind),
        both_unseen=_estimate(accuracies(splits, scored, unseen=2), kind),
        one_unseen=_estimate(accuracies(splits, scored, unseen=1), kind),
        kendall=kendall,
        spearman=spearman,
    )


def _estimate(values: np.ndarray, kind: str) -> Estimate:
    """Summarise (folds, seeds); of a baseline only the mean of its guesses counts."""
    return estimate(values if kind == "variant" else values.mean(axis=1, keepdims=True))

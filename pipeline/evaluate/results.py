"""From data sets and finished runs to words and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.judgements.pairs import check_pairs, videos_of
from data.judgements.splits import Split
from pipeline.evaluate import published
from pipeline.evaluate.baselines import Values, training_sign
from pipeline.evaluate.statistics import (
    Estimate,
    Interval,
    PairedFold,
    estimate,
    paired_interval,
    rank_correlations,
    right,
)
from pipeline.evaluate.table import TableRow

if TYPE_CHECKING:
    from data.judgements.dataset import Dataset

# scores[fold][seed][video]
Scored = Sequence[Sequence[Mapping[str, float]]]


def describe(dataset: Dataset) -> list[str]:
    """Return what there is to know of a data set: videos, pairs, faults, folds."""
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


def variant_row(
    variant: str,
    splits: Sequence[Split],
    scored: Scored,
    truth: Mapping[str, float] | None,
    known: str | None,
    difference: Interval | None,
) -> TableRow:
    """Return the table's row of a trained variant."""
    row = _row(variant, "variant", splits, scored, truth)
    return TableRow(
        row.method,
        row.kind,
        row.accuracy,
        row.both_unseen,
        row.one_unseen,
        row.kendall,
        row.spearman,
        published.accuracy(variant, known),
        difference,
    )


def baseline_row(
    name: str, values: Values, splits: Sequence[Split], truth: Mapping[str, float] | None
) -> TableRow:
    """Return the row of a single number; its direction is chosen on each fold's training pairs."""
    signs = [training_sign(values, split.train) for split in splits]
    scored = [[{key: sign * value for key, value in values.items()}] for sign in signs]
    return _row(f"{name} (baseline)", "baseline", splits, scored, truth)


def fixed_rows(splits: Sequence[Split]) -> list[TableRow]:
    """Return the rows of chance, and of the best that any scores could reach, a score a fold."""

    def certain(value: float) -> Estimate:
        return Estimate(value, math.nan, math.nan, 1)

    none = certain(math.nan)
    bounds = [check_pairs(split.test).attainable for split in splits]
    name = "attainable" if min(bounds) == 1 else "attainable, at most"
    bound = float(np.mean(bounds))
    return [
        TableRow("chance (baseline)", "baseline", certain(0.5), certain(0.5), certain(0.5)),
        TableRow(name, "bound", certain(bound), none, none),
    ]


def _row(
    method: str,
    kind: str,
    splits: Sequence[Split],
    scored: Scored,
    truth: Mapping[str, float] | None,
) -> TableRow:
    parts = {unseen: _accuracies(splits, scored, unseen) for unseen in (None, 2, 1)}
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
        kendall, spearman = estimate(both[:, :, 0]), estimate(both[:, :, 1])
    return TableRow(
        method,
        kind,
        estimate(parts[None]),
        estimate(parts[2]),
        estimate(parts[1]),
        kendall,
        spearman,
    )


def _accuracies(splits: Sequence[Split], scored: Scored, unseen: int | None) -> np.ndarray:
    """Return (folds, seeds) accuracies over test pairs with so many unseen videos (None: all)."""
    rows = []
    for split, seeds in zip(splits, scored, strict=True):
        pairs = [
            pair
            for pair, count in zip(split.test, split.unseen(), strict=True)
            if unseen is None or count == unseen
        ]
        rows.append([float(right(scores, pairs).mean()) if pairs else math.nan for scores in seeds])
    return np.array(rows)


def compare(
    splits: Sequence[Split],
    scored: Scored,
    reference: Scored,
    clusters: Mapping[str, str] | None,
    draws: int,
) -> Interval:
    """Return a variant's accuracy less the reference's, with a bootstrap interval.

    Parameters
    ----------
    clusters : mapping, optional
        Group of each video; groups are drawn in place of videos.
    """
    names = {name for split in splits for name in videos_of(split.test)}
    labels = {name: clusters[name] if clusters else name for name in names}
    number = {label: i for i, label in enumerate(sorted(set(labels.values())))}
    folds = []
    for split, ours, theirs in zip(splits, scored, reference, strict=True):
        pairs = np.array([[number[labels[p.better]], number[labels[p.worse]]] for p in split.test])
        change = [
            right(a, split.test).astype(float) - right(b, split.test)
            for a, b in zip(ours, theirs, strict=True)
        ]
        folds.append(PairedFold(pairs, np.array(change)))
    return paired_interval(folds, draws)


def training_lines(splits: Sequence[Split], scored: Mapping[str, Scored]) -> list[str]:
    """Return one line: how many training pairs each variant got right, mean over folds and seeds.

    A variant far below the others has not been trained to an end, and its row is no verdict on it.
    """
    told = []
    for variant, folds in scored.items():
        shares = [
            right(scores, split.train).mean()
            for split, seeds in zip(splits, folds, strict=True)
            for scores in seeds
        ]
        told.append(f"{variant} {100 * np.mean(shares):.1f}")
    return [
        f"training pairs right, % (far below the others: trained too little): {', '.join(told)}"
    ]


def attention_rows(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return how attention agrees with known boxes on held-out videos, by variant.

    Three rows a variant: trained, untrained, and chance. Errors are over the folds' means, as in
    the table of accuracies.
    """
    rows = []
    for variant, runs in results.items():
        folds: dict[str, list[Mapping[str, Any]]] = {}
        for run in runs:
            if run.get("attention"):
                folds.setdefault(run["fold"], []).append(run["attention"])
        for name in ("trained", "untrained", "chance") if folds else ():
            row: dict[str, Any] = {"variant": variant, "attention": name}
            for measure in ("mass", "pointing"):
                means = [
                    np.mean([each[name][measure] for each in seeds]) for seeds in folds.values()
                ]
                found = estimate(np.array(means)[:, None])
                row |= {f"{measure}_mean": found.mean, f"{measure}_error": found.error}
            rows.append(row)
    return rows


def attention_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each variant of `attention_rows`."""
    told: dict[str, list[str]] = {}
    for row in rows:
        told.setdefault(row["variant"], []).append(
            f"{row['attention']} {row['mass_mean']:.3f} / {row['pointing_mean']:.3f}"
        )
    return [
        f"attention of {variant}, mass in the box / pointing game, on held-out videos: "
        f"{', '.join(each)}"
        for variant, each in told.items()
    ]

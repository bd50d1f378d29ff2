"""Means, errors and intervals of cross-validated pair accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split

#: scores[fold][seed][video]
Scored = Sequence[Sequence[Mapping[str, float]]]

# Weights of pairs held at once by the bootstrap: 32 MB.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A mean over folds and seeds with its standard error.

    Attributes
    ----------
    mean : float
        Mean of the folds' means over seeds; NaN where there is no value.
    error : float
        Standard error. A fold's seeds share its test pairs and are no independent trials, so it
        is the deviation of the folds' means over the root of their number; with one fold, of the
        seeds; NaN with one of each.
    seed_deviation : float
        Root mean square, over folds, of the deviation between seeds; NaN with one seed.
    folds : int
        Number of folds with a value.
    """

    mean: float
    error: float
    seed_deviation: float
    folds: int


@dataclass(frozen=True)
class Interval:
    """A mean difference and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedFold:
    """Outcomes of two methods on one fold's test pairs.

    Attributes
    ----------
    clusters : ndarray (P, 2) int
        Cluster (video, or group of videos) of each pair's two videos.
    difference : ndarray (S, P) float
        Right (1) or wrong (0) of one method less that of the other, for each seed. Where one method
        is compared with M others, (M, S, P).
    """

    clusters: np.ndarray
    difference: np.ndarray


def right(scores: Mapping[str, float], pairs: Sequence[Pair]) -> np.ndarray:
    """Return for each pair whether its better video scores strictly higher; ties are wrong."""
    return np.array([scores[pair.better] > scores[pair.worse] for pair in pairs], bool)


def training_sign(values: Mapping[str, float], train: Sequence[Pair]) -> int:
    """Return 1 or −1: the direction of a number that agrees with more of the training pairs."""
    more = sum(values[pair.better] > values[pair.worse] for pair in train)
    less = sum(values[pair.better] < values[pair.worse] for pair in train)
    return 1 if more >= less else -1


def accuracies(splits: Sequence[Split], scored: Scored, unseen: int | None = None) -> np.ndarray:
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


def estimate(values: np.ndarray) -> Estimate:
    """Summarise values of (folds, seeds); folds with a value that is not finite are left out."""
    values = values[np.isfinite(values).all(axis=1)]
    folds, seeds = values.shape
    if folds == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    of_folds = values.mean(axis=1)
    spread = math.sqrt(values.var(axis=1, ddof=1).mean()) if seeds > 1 else math.nan
    if folds > 1:
        error = float(of_folds.std(ddof=1)) / math.sqrt(folds)
    else:
        error = spread / math.sqrt(seeds) if seeds > 1 else math.nan
    return Estimate(float(of_folds.mean()), error, spread, folds)


def rank_correlations(
    scores: Mapping[str, float], truth: Mapping[str, float], names: Sequence[str]
) -> tuple[float, float]:
    """Return Kendall's tau-b and Spearman's rho over some videos; NaN for fewer than three."""
    from scipy.stats import kendalltau, spearmanr

    ours = np.array([scores[name] for name in names])
    theirs = np.array([truth[name] for name in names])
    if len(names) < 3 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return math.nan, math.nan
    return float(kendalltau(ours, theirs).statistic), float(spearmanr(ours, theirs).statistic)


def compare(
    splits: Sequence[Split],
    scored: Scored,
    reference: Scored,
    clusters: Mapping[str, str] | None,
    draws: int,
) -> Interval:
    """Return one variant's accuracy less the reference's, with a bootstrap interval.

    Parameters
    ----------
    clusters : mapping, optional
        Group of each video; groups are drawn instead of videos.
    """
    every = [np.arange(len(split.test)) for split in splits]
    outcomes = zip(splits, scored, reference, strict=True)
    change = [_outcomes(ours, split) - _outcomes(theirs, split) for split, ours, theirs in outcomes]
    return paired_interval(_paired_folds(splits, every, change, clusters), draws)


def margins(
    splits: Sequence[Split],
    scored: Scored,
    baselines: Sequence[Scored],
    clusters: Mapping[str, str] | None,
    draws: int,
    unseen: int | None = None,
) -> list[Interval]:
    """Return a variant's accuracy less that of each baseline, on the same pairs.

    Only test pairs with so many unseen videos count (None: all); the list is empty where there are
    none. Of a baseline that guesses in several ways the mean outcome of a pair counts.
    """
    chosen = [
        np.array([i for i, n in enumerate(split.unseen()) if unseen is None or n == unseen], int)
        for split in splits
    ]
    change = []
    for number, (split, seeds, some) in enumerate(zip(splits, scored, chosen, strict=True)):
        theirs = [_outcomes(one[number], split)[:, some].mean(axis=0) for one in baselines]
        ours = _outcomes(seeds, split)[:, some]
        change.append(np.stack([ours - each for each in theirs]) if theirs else ours[:0])
    folds = _paired_folds(splits, chosen, change, clusters)
    return paired_intervals(folds, draws) if folds and baselines else []


def _outcomes(seeds: Sequence[Mapping[str, float]], split: Split) -> np.ndarray:
    """Return (S, P) right (1) or wrong (0)."""
    return np.array([right(scores, split.test) for scores in seeds], float)


def _paired_folds(
    splits: Sequence[Split],
    chosen: Sequence[np.ndarray],
    change: Sequence[np.ndarray],
    clusters: Mapping[str, str] | None,
) -> list[PairedFold]:
    """Return the differences on some test pairs of each fold, with clusters; no empty folds."""
    names = {name for split in splits for name in videos_of(split.test)}
    labels = {name: clusters[name] if clusters else name for name in names}
    number = {label: i for i, label in enumerate(sorted(set(labels.values())))}
    folds = []
    for split, some, difference in zip(splits, chosen, change, strict=True):
        pairs = [split.test[i] for i in some]
        rows = np.array([[number[labels[p.better]], number[labels[p.worse]]] for p in pairs])
        if pairs:
            folds.append(PairedFold(rows, difference))
    return folds


def paired_interval(folds: Sequence[PairedFold], draws: int, seed: int = 0) -> Interval:
    """Return the mean difference of two methods' accuracies with a 95 % bootstrap interval."""
    single = [PairedFold(fold.clusters, fold.difference[None]) for fold in folds]
    return paired_intervals(single, draws, seed)[0]


def paired_intervals(folds: Sequence[PairedFold], draws: int, seed: int = 0) -> list[Interval]:
    """Return the mean differences from M methods with 95 % bootstrap intervals, on the same draws.

    A pair is not independent of the other pairs that name its videos, so clusters (videos, or
    groups of them) are drawn with replacement, not pairs: a pair weighs as often as both its
    clusters were drawn (the bootstrap for pairs of Owen, "The pigeonhole bootstrap", Annals of
    Applied Statistics 2007). Seeds are drawn in the same way. Folds and trained models stay fixed:
    the interval does not account for training videos that folds share.
    """
    means = np.mean([fold.difference.mean(axis=(1, 2)) for fold in folds], axis=0)
    _, numbered = np.unique(np.concatenate([fold.clusters for fold in folds]), return_inverse=True)
    numbered = numbered.reshape(-1, 2)
    methods, seeds, _ = folds[0].difference.shape
    n = int(numbered.max()) + 1
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n, np.full(n, 1 / n), draws).astype(np.float64)
    seed_share = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
    drawn = np.full((len(folds), draws, methods), np.nan)
    start = 0
    for row, fold in enumerate(folds):
        first, second = numbered[start : start + len(fold.clusters)].T
        start += len(fold.clusters)
        difference = fold.difference.reshape(methods * seeds, -1).T
        for some in np.array_split(np.arange(draws), -(-draws * len(first) // _BLOCK)):
            weight = counts[some][:, first]
            weight *= np.where(first == second, 1.0, counts[some][:, second])
            total = weight.sum(axis=1)
            kept = total > 0
            change = (weight @ difference).reshape(-1, methods, seeds)
            change = np.einsum("dms,ds->dm", change, seed_share[some])
            drawn[row, some[kept]] = change[kept] / total[kept, None]
    drawn = drawn[:, np.isfinite(drawn).any(axis=(0, 2))]
    low, high = np.percentile(np.nanmean(drawn, axis=0), [2.5, 97.5], axis=0)
    return [Interval(*map(float, each)) for each in zip(means, low, high, strict=True)]

"""Regularised logistic regression on differences of pairs, solved over videos.

The objective, for scores s = w·z of features z (V, F) and pairs p = (better, worse):

    Σ_p log(1 + exp(s_worse − s_better)) + ½ ‖w‖²

There is no intercept: it would cancel in every difference. The best w is a combination of the
videos' features, so all that is needed of them is their Gram matrix K = z zᵀ (V, V), which may be
any positive semidefinite kernel: s = K a. With K the identity this is a Bradley-Terry model with a
Gaussian prior on the scores (Bradley and Terry, "Rank analysis of incomplete block designs",
Biometrika 1952). A kernel times c is a regularisation of 1/c.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

# Newton's steps end when the next would lower the objective by less than this.
_DECREMENT = 1e-10
_STEPS = 100
# Eigenvalues of a kernel below this share of the largest are rounding.
_RANK = 1e-12


def fit_kernel(kernel: Array, pairs: Rows) -> Array:
    """Return the dual weights a (V,) of the best scores s = K a.

    Parameters
    ----------
    kernel : ndarray (V, V)
        Symmetric, positive semidefinite.
    pairs : ndarray (P, 2) int64
        Rows (better, worse).

    Notes
    -----
    Newton's method on coordinates β in which the penalty is ½‖β‖²: the objective is strictly
    convex there, so the minimum is one and the result is the same at every call.
    """
    values, vectors = np.linalg.eigh(kernel)
    kept = values > _RANK * max(float(values[-1]), 0.0)
    root = np.sqrt(values[kept])
    basis = vectors[:, kept] * root  # s = basis β
    better, worse = pairs.T
    beta = np.zeros(basis.shape[1])
    for _ in range(_STEPS):
        wrong = _sigmoid(basis[worse] @ beta - basis[better] @ beta)
        slope = beta - basis.T @ _spread(wrong, pairs, len(basis))
        bend = basis.T @ _laplacian(wrong * (1 - wrong), pairs, len(basis)) @ basis
        bend[np.diag_indices_from(bend)] += 1.0
        step = np.linalg.solve(bend, slope)
        decrement = float(slope @ step)
        if decrement < _DECREMENT:
            break
        beta = _shorter(basis, pairs, beta, step, decrement)
    return np.asarray(vectors[:, kept] @ (beta / root))


def log_loss(scores: Array, pairs: Rows) -> Array:
    """Return log(1 + exp(s_worse − s_better)) of each pair, (P,)."""
    return np.logaddexp(0.0, scores[pairs[:, 1]] - scores[pairs[:, 0]])


def win_rates(pairs: Rows, videos: int) -> Array:
    """Return the share of its pairs that each video wins, (V,); one half where there are none."""
    won = np.bincount(pairs[:, 0], minlength=videos)
    judged = np.bincount(pairs.ravel(), minlength=videos)
    return np.where(judged > 0, won / np.maximum(judged, 1), 0.5)


def video_folds(pairs: Rows, k: int, seed: int, groups: Sequence[str] | None = None) -> list[Rows]:
    """Divide the videos that pairs name into at most `k` parts for cross-validation.

    Parameters
    ----------
    pairs : ndarray (P, 2) int64
    k, seed : int
    groups : sequence of str, optional
        Of each video: no group is cut, as long as there are two.

    Returns
    -------
    list of ndarray
        Rows of the videos of each part, in order.
    """
    rows = np.unique(pairs)
    labels = np.array([str(row) for row in rows] if groups is None else [groups[r] for r in rows])
    _, label = np.unique(labels, return_inverse=True)
    if groups is not None and label.max() == 0:
        return video_folds(pairs, k, seed)
    order = np.random.default_rng(seed).permutation(int(label.max()) + 1)
    part = order[label] % k
    return [rows[part == each] for each in range(k) if (part == each).any()]


def held_out_pairs(pairs: Rows, videos: Rows) -> tuple[Rows, Rows]:
    """Return the pairs that name none of some videos, and those that name one or two."""
    touched = np.isin(pairs, videos).any(axis=1)
    return pairs[~touched], pairs[touched]


def held_out_loss(kernel: Array, pairs: Rows, folds: Sequence[Rows]) -> float:
    """Return the mean log loss on pairs with held-out videos; infinity where none can be tested.

    Parameters
    ----------
    kernel : ndarray (V, V)
    pairs : ndarray (P, 2) int64
    folds : sequence of ndarray
        Rows of the videos that are held out together.
    """
    losses = [np.empty(0)]
    for videos in folds:
        fitted, tested = held_out_pairs(pairs, videos)
        if len(fitted) == 0:
            continue
        seen = np.unique(fitted)
        dual = fit_kernel(kernel[np.ix_(seen, seen)], renumber(fitted, seen))
        losses.append(log_loss(kernel[:, seen] @ dual, tested))
    every = np.concatenate(losses)
    return float(every.mean()) if len(every) else np.inf


def renumber(pairs: Rows, videos: Rows) -> Rows:
    """Return pairs as positions in sorted `videos`."""
    return np.searchsorted(videos, pairs)


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _spread(weight: Array, pairs: Rows, videos: int) -> Array:
    """Return Σ_p weight_p (e_better − e_worse), (V,)."""
    change = np.zeros(videos)
    np.add.at(change, pairs[:, 0], weight)
    np.subtract.at(change, pairs[:, 1], weight)
    return change


def _laplacian(weight: Array, pairs: Rows, videos: int) -> Array:
    """Return Σ_p weight_p (e_better − e_worse)(e_better − e_worse)ᵀ, (V, V)."""
    joined = np.bincount(pairs[:, 0] * videos + pairs[:, 1], weight, videos * videos)
    joined = joined.reshape(videos, videos)
    joined = joined + joined.T
    return np.diag(joined.sum(axis=1)) - joined


def _shorter(basis: Array, pairs: Rows, beta: Array, step: Array, decrement: float) -> Array:
    """Return beta after a step, halved until the objective falls (Armijo)."""

    def objective(at: Array) -> float:
        return float(log_loss(basis @ at, pairs).sum() + 0.5 * at @ at)

    start, size = objective(beta), 1.0
    while size > 1e-8 and objective(beta - size * step) > start - 1e-4 * size * decrement:
        size *= 0.5
    return beta - size * step

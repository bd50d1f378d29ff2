"""Statistics of a video's maps over time and positions, and a linear ranker on them.

The plain judge that every network must beat: the mean, the standard deviation and the maximum of
each channel over all snippets and positions, and its mean absolute change from one snippet to the
next at the same position; then the regularised pairwise logistic regression of `pairwise.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from model.ranker.pairwise import (
    Array,
    Rows,
    fit_kernel,
    held_out_loss,
    renumber,
    video_folds,
)
from model.ranker.videos import VideoMaps

STATISTICS = ("mean", "deviation", "maximum", "change")
#: Regularisations that cross-validation chooses from: λ of λ/2 ‖w‖², for features of unit deviation
#: divided by the root of their number.
STRENGTHS = tuple(float(10.0**power) for power in np.arange(-2.0, 3.5, 0.5))
#: Weights of further features relative to all pooled ones together; 0 leaves them out.
FURTHER_WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0)
FOLDS = 5


class Pooling:
    """Statistics of one video, of maps that come in parts; the memory is that of one map.

    Sums are float64 and taken about the first map's mean, so that a large offset costs no digits.
    """

    def __init__(self) -> None:
        self._count = 0
        self._changes = 0
        self._last: Array | None = None

    def add(self, maps: ArrayLike) -> None:
        """Add the next snippets, (n, C, H, W) of any floating type, in time order."""
        for each in np.asarray(maps):
            self._add(np.asarray(each, dtype=np.float64).reshape(len(each), -1))

    def _add(self, x: Array) -> None:
        if self._last is None:
            self._shift = x.mean(axis=1)
            self._sum, self._squares, self._change = np.zeros((3, len(x)))
            self._maximum = x.max(axis=1)
        else:
            self._change += np.abs(x - self._last).mean(axis=1)
            self._changes += 1
        centred = x - self._shift[:, None]
        self._sum += centred.mean(axis=1)
        self._squares += (centred**2).mean(axis=1)
        self._maximum = np.maximum(self._maximum, x.max(axis=1))
        self._count += 1
        self._last = x

    def features(self) -> Array:
        """Return the statistics, (4·C,) float64: C means, deviations, maxima and changes.

        The change of a single snippet is 0.

        Raises
        ------
        ValueError
            Nothing was added.
        """
        if self._last is None:
            raise ValueError("no snippets to pool")
        mean = self._sum / self._count
        variance = np.maximum(self._squares / self._count - mean**2, 0.0)
        change = self._change / max(self._changes, 1)
        return np.concatenate([self._shift + mean, np.sqrt(variance), self._maximum, change])


def pooled_features(videos: VideoMaps) -> Array:
    """Return the statistics of each video over all its cached snippets, (V, 4·C) float64."""
    return np.stack([statistics_of(videos, video) for video in range(len(videos.keys))])


def statistics_of(videos: VideoMaps, video: int) -> Array:
    """Return the statistics of one video over all its cached snippets, (4·C,) float64."""
    pooling = Pooling()
    for row in range(int(videos.start[video]), int(videos.start[video + 1])):
        pooling.add(videos.maps[row : row + 1].numpy())
    return pooling.features()


@dataclass(frozen=True, kw_only=True)
class LinearRanker:
    """Scores that are linear in standardised features.

    Attributes
    ----------
    mean, scale : ndarray (F,)
        Of the training videos' features; the scale of a constant feature is infinite.
    weight : ndarray (F,)
        Of the standardised features.
    strength : float
        The regularisation λ.
    further_weight : float
        Of the further features; 0 where they are left out or not given.
    """

    mean: Array
    scale: Array
    weight: Array
    strength: float
    further_weight: float = 0.0

    def score(self, features: Array) -> Array:
        """Return scores (V,) of features (V, F), pooled and then further ones."""
        return np.asarray((features - self.mean) / self.scale @ self.weight)


def fit_pooled(
    features: Array,
    pairs: Rows,
    *,
    further: Array | None = None,
    groups: Sequence[str] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    further_weights: Sequence[float] = FURTHER_WEIGHTS,
    seed: int = 0,
) -> LinearRanker:
    """Fit a linear ranker; regularisation is chosen by cross-validation over the pairs' videos.

    The choice has the least log loss on pairs with one or two held-out videos, over five parts of
    the videos. Features are standardised on the videos that the pairs name.

    Parameters
    ----------
    features : ndarray (V, F)
        Pooled features.
    pairs : ndarray (P, 2) int64
        Training pairs, rows (better, worse).
    further : ndarray (V, E), optional
        Other features, e.g. log duration. Their weight relative to the pooled ones is chosen with
        the regularisation. `LinearRanker.score` wants them to the right of the pooled ones.
    groups : sequence of str, optional
        Subject of each video; parts do not cut them.
    seed : int
        Of the parts.

    Raises
    ------
    ValueError
        There are no pairs, or a feature is not finite.
    """
    if len(pairs) == 0:
        raise ValueError("no pairs to fit")
    everything = features if further is None else np.hstack([features, further])
    if not np.isfinite(everything).all():
        raise ValueError("features must be finite")
    named = np.unique(pairs)
    mean, scale = standard(everything[named])
    z = (everything - mean) / scale
    blocks = _kernels(z, features.shape[1])
    weights = further_weights if further is not None else (0.0,)
    folds = video_folds(pairs, FOLDS, seed, groups)
    choices = [(strength, weight) for weight in weights for strength in strengths]
    losses = [held_out_loss(_mix(blocks, *each), pairs, folds) for each in choices]
    # Equal losses: the strongest regularisation.
    best = min(zip(losses, choices, strict=True), key=lambda each: (each[0], -each[1][0]))
    strength, weight = best[1]
    dual = fit_kernel(_mix(blocks, strength, weight)[np.ix_(named, named)], renumber(pairs, named))
    share = np.full(everything.shape[1], 1.0 / (strength * features.shape[1]))
    share[features.shape[1] :] = weight / strength
    return LinearRanker(
        mean=mean,
        scale=scale,
        weight=share * (z[named].T @ dual),
        strength=strength,
        further_weight=weight,
    )


def standard(features: Array) -> tuple[Array, Array]:
    """Return mean and deviation (F,) of features (V, F); infinity for a constant feature."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    constant = deviation <= 1e-9 * np.maximum(np.abs(mean), 1e-30)
    return mean, np.where(constant, np.inf, deviation)


def _kernels(z: Array, pooled: int) -> tuple[Array, Array]:
    """Return the Gram matrices of pooled features, divided by their number, and of the others."""
    first, others = z[:, :pooled], z[:, pooled:]
    return first @ first.T / pooled, others @ others.T


def _mix(blocks: tuple[Array, Array], strength: float, weight: float) -> Array:
    return (blocks[0] + weight * blocks[1]) / strength

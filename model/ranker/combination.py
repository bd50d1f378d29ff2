"""How `blend` weighs its cues, and what it remembers of the training videos.

One Gaussian process over videos, with the pairwise likelihood of `pairwise.py`: the score of video
v is

    s(v) = w_net · n(v) + w · z(v) + w_dur · d(v) + m(v)

with n the attention networks' score, z the pooled statistics of the maps, d the logarithm of the
duration, all standardised on the training pairs, and m what is peculiar to a video and can only be
remembered: independent from video to video, and 0 for a new one. Each term has a normal prior; its
variance says how much the cue may count, and a variance of 0 leaves it out. The variances are
chosen by cross-validation inside the training videos: least log loss on pairs with one held-out
video and on pairs with two, which count as much. So a cue that says nothing gets no weight, and
what is remembered of one video of a pair is weighed against what the cues say of both. n of a
training video must come from networks that have not seen it: otherwise it knows the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model.ranker.pairwise import Array, Rows, fit_kernel, held_out_loss

#: Prior variances that are tried of each term, from none to free, for cues of unit deviation.
#: Pooled maps always count, and memory is bounded: cross-validation over tens of videos may find
#: that remembering is best and no cue says anything, and two new videos would then be alike.
VARIANCES: Mapping[str, tuple[float, ...]] = {
    "network": (0.0, 0.1, 0.3, 1.0, 3.0, 10.0),
    "pooled": (1.0, 3.0, 10.0, 30.0),
    "duration": (0.0, 0.1, 0.3, 1.0, 3.0, 10.0),
    "memory": (0.0, 0.1, 0.3, 1.0, 3.0),
}
_START = {"network": 0.3, "pooled": 1.0, "duration": 0.3, "memory": 1.0}
_ROUNDS = 4
# Loss a pair by which a variance must be better than the one before it.
_LEAST_GAIN = 1e-9


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What each cue counts.

    Attributes
    ----------
    variances : dict of str to float
        Of the terms' priors.
    network, duration : float
        w_net ≥ 0 and w_dur of the standardised cues.
    pooled : ndarray (F,)
        w of the standardised statistics.
    score : ndarray (V,)
        s of the training videos, memory included.
    shares : dict of str to float
        How much each of the three cues moves the score: root mean square difference over the
        training pairs, as a share of their sum. Zeros where none counts.
    """

    variances: dict[str, float]
    network: float
    duration: float
    pooled: Array
    score: Array
    shares: dict[str, float]


def standard_by_pairs(features: Array, pairs: Rows) -> tuple[Array, Array]:
    """Return mean and scale (F,) of features (V, F), all of videos that pairs name.

    The scale is the root mean square difference over the pairs divided by √2: the deviation, where
    all videos are compared with each other. In a set of several tasks only videos of one task are
    compared, and what tells the tasks apart does not count. It is infinite for a feature without a
    difference.
    """
    mean = features.mean(axis=0)
    difference = features[pairs[:, 0]] - features[pairs[:, 1]]
    scale = np.sqrt((difference**2).mean(axis=0) / 2)
    constant = scale <= 1e-9 * np.maximum(np.abs(mean), 1e-30)
    return mean, np.where(constant, np.inf, scale)


def combine(
    network: Array,
    pooled: Array,
    duration: Array | None,
    pairs: Rows,
    folds: Sequence[Rows],
) -> Combination:
    """Weigh the cues of the training videos.

    Parameters
    ----------
    network : ndarray (V,)
        Standardised scores, each of networks that have not seen the video.
    pooled : ndarray (V, F)
        Standardised statistics.
    duration : ndarray (V,), optional
        Standardised logarithm of the duration; without it duration does not count.
    pairs : ndarray (P, 2) int64
        Every video is in a pair.
    folds : sequence of ndarray
        Rows of the videos that are held out together, to choose the variances.
    """
    kernels = {
        "network": np.outer(network, network),
        "pooled": pooled @ pooled.T / pooled.shape[1],
        "memory": np.eye(len(network)),
    }
    if duration is not None:
        kernels["duration"] = np.outer(duration, duration)
    variances = choose_variances(kernels, pairs, folds)
    kernel = _sum(kernels, variances)
    dual = fit_kernel(kernel, pairs)
    if network @ dual < 0:  # A network that is wrong more often than not says nothing.
        del kernels["network"]
        variances = choose_variances(kernels, pairs, folds) | {"network": 0.0}
        kernel = _sum(kernels, variances)
        dual = fit_kernel(kernel, pairs)
    of_network = float(variances["network"] * (network @ dual))
    of_duration = 0.0 if duration is None else float(variances["duration"] * (duration @ dual))
    weight = variances["pooled"] / pooled.shape[1] * (pooled.T @ dual)
    moved = {
        "network": _moves(of_network * network, pairs),
        "pooled": _moves(pooled @ weight, pairs),
        "duration": 0.0 if duration is None else _moves(of_duration * duration, pairs),
    }
    total = sum(moved.values()) or 1.0
    return Combination(
        variances=variances,
        network=of_network,
        duration=of_duration,
        pooled=weight,
        score=kernel @ dual,
        shares={name: value / total for name, value in moved.items()},
    )


def choose_variances(
    kernels: Mapping[str, Array], pairs: Rows, folds: Sequence[Rows]
) -> dict[str, float]:
    """Return the variances of least held-out loss, one term after the other until none changes."""

    def loss(variances: Mapping[str, float]) -> float:
        return held_out_loss(_sum(kernels, variances), pairs, folds, even=True)

    chosen = {name: _START[name] for name in kernels}
    least = loss(chosen)
    for _ in range(_ROUNDS):
        before = dict(chosen)
        for name in kernels:
            for variance in VARIANCES[name]:
                if variance == before[name]:
                    continue
                other = loss(chosen | {name: variance})
                if other < least - _LEAST_GAIN:
                    least, chosen[name] = other, variance
        if chosen == before:
            break
    return chosen


def _sum(kernels: Mapping[str, Array], variances: Mapping[str, float]) -> Array:
    first = next(iter(kernels.values()))
    total = np.zeros_like(first)
    for name, kernel in kernels.items():
        total += variances[name] * kernel
    return total


def _moves(values: Array, pairs: Rows) -> float:
    return float(np.sqrt(((values[pairs[:, 0]] - values[pairs[:, 1]]) ** 2).mean()))

"""How `blend` weighs its cues, and what it remembers of the training videos.

One Gaussian process over videos, with the pairwise likelihood of `pairwise.py`: the score of video
v is

    s(v) = w_net · n(v) + w · z(v) + w_dur · d(v) + m(v)

with n the attention networks' score, z the pooled statistics of the maps, d the logarithm of the
duration, all standardised on the training pairs, and m what is peculiar to a video and can only be
remembered: independent from video to video, and 0 for a new one. Each term has a normal prior, so
that a cue gets the weight that the training videos show, and one that says nothing hardly any: m
takes what the cues do not explain, and pairs of one video are not counted as independent of each
other. n of a training video must come from networks that have not seen it: otherwise it knows the
answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.ranker.pairwise import Array, Rows, fit_kernel

#: Prior variances of the terms, for cues of unit deviation. Ours: any within a factor of three give
#: the same accuracy within a point. Variances chosen by cross-validation inside the training videos
#: gave less, because tens of videos choose by chance (docs/accuracy.md).
VARIANCES: Mapping[str, float] = {"network": 1.0, "pooled": 3.0, "duration": 1.0, "memory": 0.3}


@dataclass(frozen=True, kw_only=True)
class Combination:
    """What each cue counts.

    Attributes
    ----------
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
    """
    kernels = {
        "network": np.outer(network, network),
        "pooled": pooled @ pooled.T / pooled.shape[1],
        "memory": np.eye(len(network)),
    }
    if duration is not None:
        kernels["duration"] = np.outer(duration, duration)
    kernel, dual = _fit(kernels, pairs)
    if network @ dual < 0:  # A network that is wrong more often than not says nothing.
        del kernels["network"]
        kernel, dual = _fit(kernels, pairs)
    of_network = VARIANCES["network"] * float(network @ dual) if "network" in kernels else 0.0
    of_duration = 0.0 if duration is None else VARIANCES["duration"] * float(duration @ dual)
    weight = VARIANCES["pooled"] / pooled.shape[1] * (pooled.T @ dual)
    moved = {
        "network": _moves(of_network * network, pairs),
        "pooled": _moves(pooled @ weight, pairs),
        "duration": 0.0 if duration is None else _moves(of_duration * duration, pairs),
    }
    total = sum(moved.values()) or 1.0
    return Combination(
        network=of_network,
        duration=of_duration,
        pooled=weight,
        score=kernel @ dual,
        shares={name: value / total for name, value in moved.items()},
    )


def _fit(kernels: Mapping[str, Array], pairs: Rows) -> tuple[Array, Array]:
    """Return the sum K of the terms' kernels, and the dual weights a of the scores s = K a."""
    kernel = np.sum([VARIANCES[name] * each for name, each in kernels.items()], axis=0)
    return kernel, fit_kernel(kernel, pairs)


def _moves(values: Array, pairs: Rows) -> float:
    return float(np.sqrt(((values[pairs[:, 0]] - values[pairs[:, 1]]) ** 2).mean()))

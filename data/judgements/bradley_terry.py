"""The order that judgements alone give: Bradley-Terry strengths, with intervals.

Bradley and Terry, "Rank analysis of incomplete block designs", Biometrika 1952: one video is judged
better than another with probability 1 / (1 + exp(-difference of their strengths)). A normal prior
keeps the strength of a video that always won finite. SciPy's Newton method finds the most probable
strengths; their covariance is the inverse of the Hessian there (Laplace).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.judgements.comparisons import Comparison

#: Deviation of strengths before any judgement; that of the page of `judge`.
DEVIATION = 2.0
_TWO_SIDED_95 = 1.959964


@dataclass(frozen=True, kw_only=True)
class Place:
    """One video in the order.

    Attributes
    ----------
    video : str
    rank : int
        1 is the best.
    strength, low, high : float
        With the 95 % interval; the mean of all videos is 0.
    best, worst : int
        Ranks that are possible: of the others, so many are surely better, and surely worse.
    comparisons : int
        Judgements that name it, ties included.
    """

    video: str
    rank: int
    strength: float
    low: float
    high: float
    best: int
    worst: int
    comparisons: int


def order(comparisons: Sequence[Comparison]) -> list[Place]:
    """Return the videos of some judgements, best first; a tie is half a judgement each way."""
    videos = sorted({name for each in comparisons for name in (each.pair.better, each.pair.worse)})
    number = {name: i for i, name in enumerate(videos)}
    better = np.array([number[each.pair.better] for each in comparisons])
    worse = np.array([number[each.pair.worse] for each in comparisons])
    won = np.array([0.5 if each.tie else 1.0 for each in comparisons])
    strength, covariance = fit(len(videos), better, worse, won)
    variance = np.diag(covariance)
    spread = np.sqrt(np.maximum(0, variance[:, None] + variance - 2 * covariance))
    surely = strength[:, None] - strength > _TWO_SIDED_95 * spread
    # Against the mean of all videos, which the prior alone holds.
    centred = np.eye(len(videos)) - 1 / len(videos)
    half = _TWO_SIDED_95 * np.sqrt(np.diag(centred @ covariance @ centred))
    strength = strength - strength.mean()
    counts = np.bincount(np.concatenate([better, worse]), minlength=len(videos))
    return [
        Place(
            video=videos[i],
            rank=rank,
            strength=float(strength[i]),
            low=float(strength[i] - half[i]),
            high=float(strength[i] + half[i]),
            best=1 + int(surely[:, i].sum()),
            worst=len(videos) - int(surely[i].sum()),
            comparisons=int(counts[i]),
        )
        for rank, i in enumerate(np.argsort(-strength, kind="stable").tolist(), 1)
    ]


def fit(
    videos: int, better: np.ndarray, worse: np.ndarray, won: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable strengths, and their covariance.

    Parameters
    ----------
    videos : int
    better, worse : ndarray (J,) int64
        The videos of each judgement.
    won : ndarray (J,) float64
        1 where the better one won, 0.5 for a tie.

    Returns
    -------
    strength : ndarray (videos,) float64
    covariance : ndarray (videos, videos) float64
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    precision = 1 / DEVIATION**2

    def loss(strength: np.ndarray) -> tuple[float, np.ndarray]:
        lead = strength[better] - strength[worse]
        value = np.logaddexp(0, -lead) @ won + np.logaddexp(0, lead) @ (1 - won)
        gradient = precision * strength
        change = won - expit(lead)
        np.add.at(gradient, better, -change)
        np.add.at(gradient, worse, change)
        return float(value + precision / 2 * strength @ strength), gradient

    def hessian(strength: np.ndarray) -> np.ndarray:
        chance = expit(strength[better] - strength[worse])
        weight = chance * (1 - chance)
        matrix = precision * np.eye(videos)
        for a, b, sign in ((better, better, 1), (worse, worse, 1), (better, worse, -1),
                           (worse, better, -1)):  # fmt: skip
            np.add.at(matrix, (a, b), sign * weight)
        return matrix

    start = np.zeros(videos)
    found = minimize(loss, start, jac=True, hess=hessian, method="trust-exact").x
    return found, np.linalg.inv(hessian(found))

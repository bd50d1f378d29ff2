"""Where a score stands among the scores of a run's training videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Neighbour:
    """A training video and its score."""

    video: str
    score: float


@dataclass(frozen=True)
class Place:
    """Where a score stands.

    Attributes
    ----------
    rank : int
        1 is the best; the video is ranked among the training videos.
    of : int
        Number of training videos compared with, and this one.
    percentile : float
        Share in per cent of the training videos that score lower, equal ones counted half.
    better, worse : Neighbour or None
        The training videos with the nearest higher and lower score.
    """

    rank: int
    of: int
    percentile: float
    better: Neighbour | None
    worse: Neighbour | None


@dataclass(frozen=True)
class Reference:
    """Scores of the training videos, to compare a score with.

    Attributes
    ----------
    videos : tuple of str
    scores : ndarray (V,) float64
    """

    videos: tuple[str, ...]
    scores: np.ndarray

    @property
    def mean(self) -> float:
        """Mean score."""
        return float(self.scores.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation of the scores; 1 where all are the same."""
        return float(self.scores.std()) or 1.0

    def standardised(self, score: float) -> float:
        """Return a score in standard deviations from the mean of the training videos."""
        return (score - self.mean) / self.deviation

    def place(self, score: float, itself: str | None = None) -> Place:
        """Return where a score stands.

        Parameters
        ----------
        score : float
        itself : str, optional
            A training video that this score belongs to: it is compared with the others only.
        """
        others = np.array([video != itself for video in self.videos], dtype=bool)
        scores = self.scores[others]
        videos = [video for video in self.videos if video != itself]
        above, below = scores > score, scores < score
        equal = len(scores) - int(above.sum()) - int(below.sum())
        share = (int(below.sum()) + equal / 2) / len(scores) if len(scores) else 0.5
        return Place(
            int(above.sum()) + 1,
            len(scores) + 1,
            100 * share,
            _nearest(videos, scores, above, score),
            _nearest(videos, scores, below, score),
        )


def _nearest(
    videos: Sequence[str], scores: np.ndarray, among: np.ndarray, score: float
) -> Neighbour | None:
    rows = np.flatnonzero(among)
    if not len(rows):
        return None
    row = int(rows[np.abs(scores[rows] - score).argmin()])
    return Neighbour(videos[row], float(scores[row]))

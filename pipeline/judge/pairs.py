"""Pairs that are fixed beforehand: drawn at random, or those of which a run is least sure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import combinations

import numpy as np

Numbers = tuple[int, int]


def random_pairs(videos: int, count: int, seed: int) -> list[Numbers]:
    """Draw different pairs so that every video comes about equally often.

    Parameters
    ----------
    videos, count : int
        Videos, and pairs to draw; fewer come where there are not so many.
    seed : int
    """
    rng = np.random.default_rng(seed)
    drawn = {pair: float(rng.random()) for pair in combinations(range(videos), 2)}
    return _in_rounds(videos, count, drawn.__getitem__, drawn)


def least_sure_pairs(
    scores: Sequence[float], count: int, judged: Collection[Numbers] = ()
) -> list[Numbers]:
    """Return the pairs whose scores differ least, the least sure of each round first.

    In a round every video comes once at most: without this, a few videos in the middle would
    fill the list.

    Parameters
    ----------
    scores : sequence of float
        One a video.
    count : int
        Pairs to return; fewer come where there are not so many.
    judged : collection of (int, int)
        Pairs, the lower number first, that need no further judgement.
    """
    known = set(judged)
    open_pairs = [each for each in combinations(range(len(scores)), 2) if each not in known]
    return _in_rounds(
        len(scores), count, lambda pair: abs(scores[pair[0]] - scores[pair[1]]), open_pairs
    )


def _in_rounds(
    videos: int, count: int, order: Callable[[Numbers], float], pairs: Collection[Numbers]
) -> list[Numbers]:
    """Take pairs in an order, round by round; in a round every video comes once at most."""
    left = sorted(pairs, key=order)
    taken: list[Numbers] = []
    while left and len(taken) < count:
        used = [False] * videos
        later = []
        for pair in left:
            if used[pair[0]] or used[pair[1]]:
                later.append(pair)
                continue
            used[pair[0]] = used[pair[1]] = True
            taken.append(pair)
        left = later
    return taken[:count]

"""The ranking and the pairs it gets most wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.pairs import Pair, videos_of
from pipeline.report_charts import bars
from pipeline.run_folder import ranking

if TYPE_CHECKING:
    from pipeline.report_accuracy import RunPairs
    from pipeline.run_folder import Run

TRAINED, CHOSE, UNSEEN = "trained on", "chose the epoch", "unseen"


@dataclass(frozen=True)
class Ranked:
    """One video of the ranking.

    Attributes
    ----------
    key : str
    rank : int
    score, percentile : float
    seen : str
        What the run used it for.
    left, width : float
        Of its bar, per cent.
    right, judged : int
        Of the pairs that the page shows, how many it is in, and how many are ordered rightly.
    """

    key: str
    rank: int
    score: float
    percentile: float
    seen: str
    left: float
    width: float
    right: int = 0
    judged: int = 0


@dataclass(frozen=True)
class Ordered:
    """A pair as the run orders it; `margin` is negative where that is wrong."""

    better: Ranked
    worse: Ranked
    margin: float


def rank_videos(run: Run, pairs: RunPairs | None) -> list[Ranked]:
    """Return the videos from best to worst."""
    scores = dict(zip(run.keys, run.scores, strict=True))
    shown = pairs.shown()[1] if pairs else []
    judged: dict[str, list[bool]] = {}
    for pair in shown:
        for name in (pair.better, pair.worse):
            judged.setdefault(name, []).append(scores[pair.better] > scores[pair.worse])
    rows = ranking(run.keys, np.array(run.scores))
    places = bars([scores[row["video"]] for row in rows])
    seen = _use(run, pairs)
    return [
        Ranked(
            row["video"],
            row["rank"],
            scores[row["video"]],
            float(row["percentile"]),
            seen.get(row["video"], UNSEEN),
            *place,
            sum(judged.get(row["video"], ())),
            len(judged.get(row["video"], ())),
        )
        for row, place in zip(rows, places, strict=True)
    ]


def _use(run: Run, pairs: RunPairs | None) -> dict[str, str]:
    used = dict.fromkeys(run.training_videos, TRAINED)
    if pairs and pairs.exact and pairs.validation:
        fitted = set(videos_of(pairs.train))
        used |= {name: CHOSE for name in run.training_videos if name not in fitted}
    return used


def most_wrong(rows: Sequence[Ranked], pairs: Sequence[Pair], count: int) -> list[Ordered]:
    """Return the pairs with the smallest margins, the most wrong first; each pair once."""
    of = {row.key: row for row in rows}
    ordered = [
        Ordered(of[pair.better], of[pair.worse], of[pair.better].score - of[pair.worse].score)
        for pair in dict.fromkeys(pairs)
    ]
    return sorted(ordered, key=lambda each: (each.margin, each.better.key, each.worse.key))[:count]


def with_pictures(rows: Sequence[Ranked], most: int) -> list[str]:
    """Return the videos that get a picture: all, or as many of the best as of the worst."""
    keys = [row.key for row in rows]
    if len(keys) <= most:
        return keys
    best = most - most // 2
    return keys[:best] + keys[len(keys) - most // 2 :]

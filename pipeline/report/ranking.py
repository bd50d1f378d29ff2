"""The ranking and the pairs it gets most wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.judgements.pairs import videos_of
from pipeline.report.charts import bars
from pipeline.runs.folder import ranking

if TYPE_CHECKING:
    from pipeline.report.accuracy import RunPairs
    from pipeline.report.evaluation import EvaluationFacts
    from pipeline.runs.folder import Run

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
    """A judged pair with the scores that a ranker gave its videos, and the fold that held it out.

    `fold` is empty where the ranker is the run's own.
    """

    better: str
    worse: str
    scores: tuple[float, float]
    fold: str = ""

    @property
    def margin(self) -> float:
        """Score of the better video less that of the other: 0 or less is wrong."""
        return self.scores[0] - self.scores[1]


@dataclass(frozen=True)
class OrderedPairs:
    """The pairs that say most about new videos, and what they are."""

    kind: str
    pairs: tuple[Ordered, ...]

    @property
    def wrong(self) -> int:
        """How many are ordered wrongly; ties are."""
        return sum(pair.margin <= 0 for pair in self.pairs)


def order_pairs(run: Run, pairs: RunPairs | None, crossed: EvaluationFacts | None) -> OrderedPairs:
    """Order the run's test pairs, else those of its evaluation, else what the run trained on."""
    kind, shown = pairs.shown() if pairs else ("", [])
    if kind != "test" and crossed and crossed.scores:
        return OrderedPairs("cross-validated test", tuple(_held_out(crossed)))
    scores = dict(zip(run.keys, run.scores, strict=True))
    return OrderedPairs(
        kind,
        tuple(Ordered(p.better, p.worse, (scores[p.better], scores[p.worse])) for p in shown),
    )


def _held_out(crossed: EvaluationFacts) -> Iterator[Ordered]:
    """Yield each fold's test pairs with the mean scores of its seeds."""
    for split, seeds in zip(crossed.splits, crossed.scores, strict=True):
        for pair in split.test:
            both = [sum(s[name] for s in seeds) / len(seeds) for name in (pair.better, pair.worse)]
            yield Ordered(pair.better, pair.worse, (both[0], both[1]), split.name)


def rank_videos(run: Run, pairs: RunPairs | None, ordered: OrderedPairs) -> list[Ranked]:
    """Return the videos from best to worst."""
    scores = dict(zip(run.keys, run.scores, strict=True))
    judged: dict[str, list[bool]] = {}
    for pair in ordered.pairs:
        for name in (pair.better, pair.worse):
            judged.setdefault(name, []).append(pair.margin > 0)
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


def most_wrong(ordered: OrderedPairs, count: int) -> list[Ordered]:
    """Return the pairs with the smallest margins, the most wrong first; each pair once."""
    found: dict[tuple[str, str], Ordered] = {}
    for pair in sorted(ordered.pairs, key=lambda each: (each.margin, each.better, each.worse)):
        found.setdefault((pair.better, pair.worse), pair)
    return list(found.values())[:count]


def with_pictures(rows: Sequence[Ranked], most: int) -> list[str]:
    """Return the videos that get a picture: all, or as many of the best as of the worst."""
    keys = [row.key for row in rows]
    if len(keys) <= most:
        return keys
    best = most - most // 2
    return keys[:best] + keys[len(keys) - most // 2 :]

"""The ranking, and the most wrong pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.judgements.pairs import videos_of
from pipeline.runs.folder import ranking

if TYPE_CHECKING:
    from pipeline.report.evaluation import EvaluationFacts
    from pipeline.report.sources import Sources

TRAINED, CHOSE, UNSEEN = "trained on", "chose the epoch", "unseen"


@dataclass(frozen=True, kw_only=True)
class RankedVideo:
    """One video of the ranking.

    Attributes
    ----------
    key : str
    rank : int
    score, percentile : float
    use : str
        What the run used it for.
    left, width : float
        Of its score's bar from zero, per cent.
    correct, judged : int
        The pairs of the page that it is in, and how many of them are in the right order.
    """

    key: str
    rank: int
    score: float
    percentile: float
    use: str
    left: float = 0.0
    width: float = 0.0
    correct: int = 0
    judged: int = 0


@dataclass(frozen=True)
class ScoredPair:
    """A judged pair with the scores of its videos, and the fold that held it out.

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
class ScoredPairs:
    """The pairs that say most about new videos; `kind` names them."""

    kind: str
    pairs: tuple[ScoredPair, ...]

    @property
    def wrong(self) -> int:
        """Number of pairs in the wrong order; ties count."""
        return sum(pair.margin <= 0 for pair in self.pairs)


def order_pairs(sources: Sources, evaluation: EvaluationFacts | None) -> ScoredPairs:
    """Score the run's test pairs, else those of its evaluation, else what the run trained on."""
    record, run = sources.record, sources.run
    if not (record and record.test) and evaluation and evaluation.scores:
        return ScoredPairs("cross-validated test", tuple(_held_out(evaluation)))
    scores = dict(zip(run.keys, run.scores, strict=True))
    kinds = [("training", record.train)] if record else []
    if record:
        kinds = [("test", record.test), ("validation", record.validation), *kinds]
    kind, pairs = next(((kind, pairs) for kind, pairs in kinds if pairs), ("", []))
    return ScoredPairs(
        kind,
        tuple(ScoredPair(p.better, p.worse, (scores[p.better], scores[p.worse])) for p in pairs),
    )


def _held_out(evaluation: EvaluationFacts) -> Iterator[ScoredPair]:
    """Yield each fold's test pairs with the mean scores of its seeds."""
    for split, seeds in zip(evaluation.splits, evaluation.scores, strict=True):
        for pair in split.test:
            both = [sum(s[name] for s in seeds) / len(seeds) for name in (pair.better, pair.worse)]
            yield ScoredPair(pair.better, pair.worse, (both[0], both[1]), split.name)


def rank_videos(sources: Sources, ordered: ScoredPairs) -> list[RankedVideo]:
    """Return the videos from best to worst."""
    run = sources.run
    outcomes: dict[str, list[bool]] = {key: [] for key in run.keys}
    for pair in ordered.pairs:
        for name in (pair.better, pair.worse):
            outcomes.setdefault(name, []).append(pair.margin > 0)
    rows = ranking(run.keys, np.array(run.scores))
    bars = score_bars([float(row["score"]) for row in rows])
    uses = _uses(sources)
    return [
        RankedVideo(
            key=row["video"],
            rank=row["rank"],
            score=float(row["score"]),
            percentile=float(row["percentile"]),
            use=uses.get(row["video"], UNSEEN),
            left=left,
            width=width,
            correct=sum(outcomes[row["video"]]),
            judged=len(outcomes[row["video"]]),
        )
        for row, (left, width) in zip(rows, bars, strict=True)
    ]


def score_bars(scores: Sequence[float]) -> list[tuple[float, float]]:
    """Return for each score (left, width) of a bar from zero, in per cent of the common axis."""
    low, high = min(0.0, *scores), max(0.0, *scores)
    span = (high - low) or 1.0
    return [(100 * (min(score, 0.0) - low) / span, 100 * abs(score) / span) for score in scores]


def _uses(sources: Sources) -> dict[str, str]:
    run, record = sources.run, sources.record
    uses = dict.fromkeys(run.training_videos, TRAINED)
    if record and record.validation:
        fitted = set(videos_of(record.train))
        uses |= {name: CHOSE for name in run.training_videos if name not in fitted}
    return uses


def most_wrong(ordered: ScoredPairs, count: int) -> list[ScoredPair]:
    """Return the pairs with the smallest margins, the most wrong first; each pair once."""
    pairs: dict[tuple[str, str], ScoredPair] = {}
    for pair in sorted(ordered.pairs, key=lambda each: (each.margin, each.better, each.worse)):
        pairs.setdefault((pair.better, pair.worse), pair)
    return list(pairs.values())[:count]


def with_pictures(rows: Sequence[RankedVideo], most: int) -> list[str]:
    """Return the videos that get a picture: all, or as many of the best as of the worst."""
    keys = [row.key for row in rows]
    if len(keys) <= most:
        return keys
    best = most - most // 2
    return keys[:best] + keys[len(keys) - most // 2 :]

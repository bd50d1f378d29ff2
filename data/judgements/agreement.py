"""How well judges agree, with each other and with themselves, and what that leaves attainable."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from statistics import median
from typing import Any

from data.judgements.comparisons import Comparison

# Of two videos in the order of their names: the first is better (1), the second (-1), a tie (0).
_Votes = Mapping[tuple[str, str], Mapping[str, Sequence[int]]]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of pairs, with its 95 % interval (Wilson).

    Attributes
    ----------
    share, low, high : float
        In [0, 1].
    pairs : int
        Pairs of videos, the independent trials of the interval.
    """

    share: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{100 * self.share:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    @classmethod
    def of(cls, values: Sequence[float]) -> Share | None:
        """Return the mean of shares, one a pair of videos; None where there are none."""
        if not values:
            return None
        from scipy.stats import binomtest

        mean, count = sum(values) / len(values), len(values)
        bounds = binomtest(round(mean * count), count).proportion_ci(method="wilson")
        low, high = min(mean, float(bounds.low)), max(mean, float(bounds.high))
        return cls(share=mean, low=low, high=high, pairs=count)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """One judge.

    Attributes
    ----------
    name : str
    comparisons, ties : int
        Answers, and those among them that were ties.
    seconds : float or None
        Median time of an answer.
    within : Share or None
        Agreement with themselves, on pairs that came again.
    between : Share or None
        Agreement with the other judges.
    """

    name: str
    comparisons: int
    ties: int
    seconds: float | None
    within: Share | None
    between: Share | None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The agreement of some judges; ties are left out of all shares.

    Attributes
    ----------
    judges : tuple of Judge
    between : Share or None
        Of two judges, on pairs that both decided.
    within : Share or None
        Of a judge with themselves, on pairs that came again.
    attainable : Share or None
        Accuracy against single judgements of a ranker that knows what the judges have in common:
        two judges of accuracy q, whose errors are independent, agree on q² + (1 − q)² of the
        pairs. It is a bound, because pairs differ in difficulty. Of one judge, it comes from the
        agreement with themselves, and their own habits count as right.
    """

    judges: tuple[Judge, ...]
    between: Share | None
    within: Share | None
    attainable: Share | None

    @property
    def known(self) -> bool:
        """Whether the judgements say anything about agreement."""
        return self.between is not None or self.within is not None

    def lines(self) -> list[str]:
        """Return the agreement in words."""
        lines = []
        if self.between:
            lines.append(f"two judges agree on {self.between} of {_pairs(self.between)} that both "
                         "decided")  # fmt: skip
        if self.within:
            lines.append(
                f"a judge agrees with themselves on {self.within} of {_pairs(self.within)} that "
                "came again"
            )
        if self.attainable:
            lines.append(
                f"attainable accuracy against single judgements: at most about {self.attainable}"
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return the agreement as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Agreement:
        """Return what `as_dict` gave.

        Raises
        ------
        KeyError, TypeError
            The content is not of that form.
        """

        def share(each: Any) -> Share | None:
            return None if each is None else Share(**each)

        return cls(
            judges=tuple(
                Judge(
                    **{**each, "within": share(each["within"]), "between": share(each["between"])}
                )
                for each in content["judges"]
            ),
            between=share(content["between"]),
            within=share(content["within"]),
            attainable=share(content["attainable"]),
        )


def agreement(comparisons: Sequence[Comparison]) -> Agreement:
    """Measure how well the judges of some comparisons agree.

    Comparisons without a judge are left out: the same pair twice may be two judges, or one.
    """
    comparisons = [each for each in comparisons if each.judge]
    votes = _votes(comparisons)
    names = sorted({each.judge for each in comparisons})
    between = Share.of(_between(votes))
    within = Share.of(_within(votes, names))
    return Agreement(
        judges=tuple(_judge(name, comparisons, votes) for name in names),
        between=between,
        within=within,
        attainable=_attainable(between or within),
    )


def _judge(name: str, comparisons: Iterable[Comparison], votes: _Votes) -> Judge:
    own = [each for each in comparisons if each.judge == name]
    taken = [each.seconds for each in own if each.seconds is not None]
    return Judge(
        name=name,
        comparisons=len(own),
        ties=sum(each.tie for each in own),
        seconds=median(taken) if taken else None,
        within=Share.of(_within(votes, [name])),
        between=Share.of(_between(votes, name)),
    )


def _votes(comparisons: Iterable[Comparison]) -> _Votes:
    """Return each judge's answers about each two videos, in order."""
    votes: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for each in comparisons:
        better, worse = each.pair.better, each.pair.worse
        first = better < worse
        vote = 0 if each.tie else 1 if first else -1
        votes[(better, worse) if first else (worse, better)][each.judge].append(vote)
    return votes


def _between(votes: _Votes, name: str | None = None) -> list[float]:
    """Return for each two videos the share of two judges, one of them `name`, who agree."""
    shares = []
    for by_judge in votes.values():
        says = {judge: sum(answers) for judge, answers in by_judge.items() if sum(answers)}
        both = [two for two in combinations(says, 2) if name is None or name in two]
        if both:
            shares.append(sum(says[a] * says[b] > 0 for a, b in both) / len(both))
    return shares


def _within(votes: _Votes, names: Sequence[str]) -> list[float]:
    """Return for each two videos and judge the share of repeated answers that are as before."""
    shares = []
    for by_judge in votes.values():
        for name in names:
            said = [vote for vote in by_judge.get(name, ()) if vote]
            if len(said) > 1:
                same = [before == after for before, after in pairwise(said)]
                shares.append(sum(same) / len(same))
    return shares


def _attainable(agreed: Share | None) -> Share | None:
    if agreed is None:
        return None
    share, low, high = (
        (1 + math.sqrt(max(0.0, 2 * each - 1))) / 2
        for each in (agreed.share, agreed.low, agreed.high)
    )
    return Share(share=share, low=low, high=high, pairs=agreed.pairs)


def _pairs(share: Share) -> str:
    return f"{share.pairs} pair{'s' * (share.pairs != 1)}"

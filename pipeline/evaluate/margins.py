"""By how much rankers beat the baselines on the same pairs, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from data.judgements.splits import Split
from pipeline.evaluate import statistics
from pipeline.evaluate.statistics import Scored

MEMORY = "memory"
#: Which test pairs, strictest first: the number of unseen videos (None: any), and what they are.
PAIRS = {"both_unseen": (2, "pairs of two unseen videos"), "accuracy": (None, "all test pairs")}


@dataclass(frozen=True, kw_only=True)
class Margin:
    """A variant's accuracy less a baseline's, as shares, with a 95 % interval.

    Attributes
    ----------
    variant, baseline : str
    pairs : str
        Key of `PAIRS`.
    mean, low, high : float
    """

    variant: str
    baseline: str
    pairs: str
    mean: float
    low: float
    high: float

    @property
    def beaten(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > 0

    def __str__(self) -> str:
        numbers = (100 * value for value in (self.mean, self.low, self.high))
        chance = self.baseline == MEMORY and self.pairs == "both_unseen"
        name = f"chance ({MEMORY})" if chance else self.baseline
        return "{} {:+.1f} [{:+.1f}, {:+.1f}]".format(name, *numbers)


def measure_margins(
    splits: Sequence[Split],
    variants: Mapping[str, Scored],
    baselines: Mapping[str, Scored],
    clusters: Mapping[str, str] | None,
    draws: int,
) -> tuple[Margin, ...]:
    """Compare every variant with every baseline, on both kinds of pairs that there are."""
    found = []
    for variant, scored in variants.items():
        for pairs, (unseen, _) in PAIRS.items():
            others = [*baselines.values()]
            intervals = statistics.margins(splits, scored, others, clusters, draws, unseen)
            found += [
                Margin(variant=variant, baseline=name, pairs=pairs, **asdict(each))
                for name, each in zip(baselines, intervals, strict=False)
            ]
    return tuple(found)


def sentences(margins: Sequence[Margin], variant: str) -> Iterator[str]:
    """Yield for each kind of pairs which baselines a variant does not clearly beat."""
    for pairs, (_, where) in PAIRS.items():
        own = [each for each in margins if (each.variant, each.pairs) == (variant, pairs)]
        if not own:
            continue
        closest = sorted(own, key=lambda each: each.mean)
        unbeaten = [str(each) for each in closest if not each.beaten]
        if unbeaten:
            yield f"{variant} does not clearly beat, on {where}: {'; '.join(unbeaten)}"
        else:
            yield f"{variant} beats every baseline on {where}; the closest: {closest[0]}"

"""The head of a report: how well it judges, on which pairs, beside what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.evaluate.published import SOURCE
from pipeline.evaluate.statistics import Interval
from pipeline.shell.words import counted

if TYPE_CHECKING:
    from pipeline.report.accuracy import Measured
    from pipeline.report.evaluation import EvaluationFacts
    from pipeline.report.methods import Method
    from pipeline.report.sources import Sources

_PARTS = {
    "both_unseen": "pairs of two videos that it was not trained on",
    "accuracy": "all test pairs",
}


@dataclass(frozen=True)
class Summary:
    """The one number, and what must be said with it.

    Attributes
    ----------
    value : Interval or None
        Share of pairs ordered rightly with its 95 % interval; None where nothing was tested.
    tested : bool
        Whether the pairs are test pairs that had no part in training.
    of : str
        Which pairs.
    beside : tuple of (str, str)
        What it compares with: name and per cent.
    verdict : str
    cautions : tuple of str
    """

    value: Interval | None
    tested: bool
    of: str
    beside: tuple[tuple[str, str], ...]
    verdict: str
    cautions: tuple[str, ...]


def summarise(
    sources: Sources,
    evaluation: EvaluationFacts | None,
    own: Sequence[Measured],
    random_trunks: bool,
) -> Summary:
    """Say what matters in one screen."""
    cautions = []
    authors = sources.run.train.protocol == "authors"
    if authors or (evaluation and "AUTHORS" in evaluation.protocol):
        cautions.append(
            "Authors' protocol: the epoch was chosen on the test pairs, so accuracy on them "
            "flatters."
        )
    if random_trunks:
        cautions.append(
            "The feature trunks have random weights: this shows that the stages work together, "
            "not how well the method judges."
        )
    method = evaluation.method(sources.run.ranker.variant) if evaluation else None
    method = method or (evaluation.method(evaluation.reference) if evaluation else None)
    if evaluation and method and method.value(evaluation.part):
        return _evaluated(evaluation, method, cautions)
    return _own(own, authors, cautions)


def _evaluated(evaluation: EvaluationFacts, method: Method, cautions: list[str]) -> Summary:
    part = evaluation.part
    value = method.value(part)
    rivals = [
        (each.means[part], each)
        for each in evaluation.methods
        if each.kind == "baseline" and not each.name.startswith("chance")
    ]
    beside = [("chance", "50 %")]
    known = [(mean, each) for mean, each in rivals if mean is not None]
    if known:
        mean, best = max(known, key=lambda each: each[0])
        beside.append((f"best single number: {best.name.removesuffix(' (baseline)')}", _pc(mean)))
    if method.published is not None:
        beside.append((f"published, {SOURCE}", f"{method.published:.1f} %"))
    if evaluation.apart:
        cautions.append(
            "The evaluated rankers are not quite this run: the evaluation has "
            + "; ".join(evaluation.apart)
            + "."
        )
    count = method.count
    of = f"{_PARTS[part]}, cross-validated over {counted(count, 'fold')}"
    tested = "AUTHORS" not in evaluation.protocol
    return Summary(value, tested, of, tuple(beside), _verdict(value), tuple(cautions))


def _own(own: Sequence[Measured], authors: bool, cautions: list[str]) -> Summary:
    tests = [each for each in own if each.kind == "test"]
    both = [each for each in tests if "both" in each.label]
    held = both or tests or [each for each in own if each.kind == "validation"]
    if not held:
        cautions.append(
            "Nothing here says how it judges videos that it was not trained on: give "
            "train-ranker test pairs, or run evaluate."
        )
        return Summary(None, False, "not tested", (("chance", "50 %"),), "", tuple(cautions))
    chosen = held[0]
    cautions.append("One split only; evaluate cross-validates, and is less a matter of luck.")
    kind = chosen.label if chosen.kind == "validation" else f"{chosen.label} of one split"
    kind = kind.replace("of these, both videos unseen", _PARTS["both_unseen"])
    counted = f" ({chosen.pairs} pairs)" if chosen.pairs else ""
    tested = chosen.kind == "test" and not authors
    of = f"{kind}{counted}" + ("" if tested else f"; {chosen.note}")
    value = chosen.interval or Interval(chosen.share, chosen.share, chosen.share)
    verdict = _verdict(chosen.interval) if tested else ""
    return Summary(value, tested, of, (("chance", "50 %"),), verdict, tuple(cautions))


def _verdict(value: Interval | None) -> str:
    if value is None:
        return "No interval: the run did not record its pairs."
    if value.low == value.high:
        return "No interval: a bootstrap needs pairs on both sides, right and wrong."
    if value.low > 0.5:
        return "Above chance: the whole interval is."
    if value.high < 0.5:
        return "Below chance: it orders unseen videos the wrong way round."
    return "No clear evidence that it is above chance: the interval holds 50 %."


def _pc(share: float) -> str:
    return f"{100 * share:.1f} %"

"""The head of a page: how well the ranker judges, on which pairs, compared with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.evaluate.margins import sentences
from pipeline.evaluate.published import SOURCE
from pipeline.evaluate.statistics import Interval
from pipeline.shell.words import counted

if TYPE_CHECKING:
    from data.judgements.agreement import Agreement
    from pipeline.report.accuracy import Accuracy
    from pipeline.report.evaluation import EvaluationFacts, Method
    from pipeline.report.sources import Sources

_PAIRS = {
    "both_unseen": "pairs of two videos that it was not trained on",
    "accuracy": "all test pairs",
}
_CHANCE = ("chance", "50 %")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The one number, and what must be said with it.

    Attributes
    ----------
    value : Interval or None
        Share of pairs in the right order with its 95 % interval; None where nothing was tested.
    tested : bool
        Whether the pairs are test pairs that had no part in training.
    pairs : str
        Which pairs.
    compared : tuple of (str, str)
        Other numbers: name and per cent.
    verdict : str
    against : tuple of str
        Which baselines it beats, and which it does not.
    cautions : tuple of str
    judges : tuple of (str, str)
        Agreement of the judges, and the accuracy that it leaves attainable: name and per cent.
    """

    value: Interval | None
    tested: bool
    pairs: str
    compared: tuple[tuple[str, str], ...]
    verdict: str
    cautions: tuple[str, ...]
    against: tuple[str, ...] = ()
    judges: tuple[tuple[str, str], ...] = ()


def summarise(
    sources: Sources,
    evaluation: EvaluationFacts | None,
    own: Sequence[Accuracy],
    random_trunks: bool,
) -> Summary:
    """Return what matters, for one screen."""
    cautions = []
    authors = sources.run.train.protocol == "authors"
    if authors or (evaluation and "AUTHORS" in evaluation.protocol):
        cautions.append(
            "Authors' protocol: the epoch was chosen on the test pairs, so accuracy on them is "
            "optimistic."
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


def judges_agree(agreement: Agreement | None) -> tuple[tuple[str, str], ...]:
    """Return the judges' agreement as numbers to compare with; a ranker is no better than them."""
    if agreement is None:
        return ()
    named = (
        ("two judges agree", agreement.between),
        ("a judge agrees with themselves", agreement.within),
        ("attainable against single judgements, at most about", agreement.attainable),
    )
    return tuple((name, f"{100 * each.share:.1f} %") for name, each in named if each)


def _evaluated(evaluation: EvaluationFacts, method: Method, cautions: list[str]) -> Summary:
    part = evaluation.part
    compared = [_CHANCE]
    numbers = [
        (mean, each.name.removesuffix(" (baseline)"))
        for each in evaluation.whole
        if each.kind == "baseline" and not each.name.startswith("chance")
        if (mean := each.means[part]) is not None
    ]
    if numbers:
        mean, name = max(numbers)
        compared.append((f"best baseline: {name}", f"{100 * mean:.1f} %"))
    if method.published is not None:
        compared.append((f"published, {SOURCE}", f"{method.published:.1f} %"))
    if evaluation.differences:
        cautions.append(
            "The evaluated rankers differ from this run: the evaluation has "
            + "; ".join(evaluation.differences)
            + "."
        )
    folds = counted(len(evaluation.splits), "fold")
    value = method.value(part)
    return Summary(
        value=value,
        tested="AUTHORS" not in evaluation.protocol,
        pairs=f"{_PAIRS[part]}, cross-validated over {folds}",
        compared=tuple(compared),
        verdict=_verdict(value),
        cautions=tuple(cautions),
        against=tuple(sentences(evaluation.margins, method.name)),
    )


def _own(own: Sequence[Accuracy], authors: bool, cautions: list[str]) -> Summary:
    tests = [each for each in own if each.kind == "test"]
    both = [each for each in tests if "both" in each.label]
    held_out = both or tests or [each for each in own if each.kind == "validation"]
    if not held_out:
        cautions.append(
            "Nothing here says how it judges videos that it was not trained on: give "
            "train-ranker test pairs, or run evaluate."
        )
        return Summary(
            value=None,
            tested=False,
            pairs="not tested",
            compared=(_CHANCE,),
            verdict="",
            cautions=tuple(cautions),
        )
    chosen = held_out[0]
    cautions.append("One split only; evaluate cross-validates, and depends less on chance.")
    label = chosen.label.replace("of these, both videos unseen", _PAIRS["both_unseen"])
    kind = label if chosen.kind == "validation" else f"{label} of one split"
    tested = chosen.kind == "test" and not authors
    value = chosen.interval or Interval(chosen.share, chosen.share, chosen.share)
    return Summary(
        value=value,
        tested=tested,
        pairs=f"{kind} ({chosen.pairs} pairs)" + ("" if tested else f"; {chosen.note}"),
        compared=(_CHANCE,),
        verdict=_verdict(value) if tested else "",
        cautions=tuple(cautions),
    )


def _verdict(value: Interval | None) -> str:
    if value is None or value.low == value.high:
        return "No interval: a bootstrap needs both right and wrong pairs."
    if value.low > 0.5:
        return "Above chance: the whole interval lies above 50 %."
    if value.high < 0.5:
        return "Below chance: it puts unseen videos in the wrong order."
    return "No clear evidence that it is above chance: the interval includes 50 %."

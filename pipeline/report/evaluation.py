"""The results of an evaluation for the page: its methods with their folds, and attention."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import InputError
from data.judgements.agreement import Agreement
from data.judgements.splits import Split
from model.ranker.options import recorded_ranker
from pipeline.evaluate.margins import Margin
from pipeline.evaluate.rows import of_task
from pipeline.evaluate.statistics import Interval, right
from pipeline.report.accuracy import accuracy_interval
from pipeline.runs.record import FoldsRecord, read_folds, read_json

if TYPE_CHECKING:
    from pipeline.report.sources import Sources

# Accuracies of a method, and the number of unseen videos in their pairs (None: any).
PARTS = {"accuracy": None, "both_unseen": 2, "one_unseen": 1}
# Recomputed means agree with the table's to rounding, if folds and table belong together.
_SAME = 1e-9

# Scores of one method: of each fold, of each seed, by video.
Scores = Sequence[Sequence[Mapping[str, float]]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row: a trained variant, a baseline, or a bound.

    Attributes
    ----------
    name, kind : str
        As in the table.
    means, errors : dict of str to float or None
        Of each of `PARTS`, as shares; standard errors of the means.
    published : float or None
        Per cent.
    task : str
        Task of a merged set that the row is about; empty for the whole set.
    intervals : dict of str to Interval
        95 %, of the parts; empty for chance and bounds.
    folds : tuple of dict
        The parts in each fold, means over seeds; empty for chance and bounds.
    """

    name: str
    kind: str
    means: dict[str, float | None]
    errors: dict[str, float | None]
    published: float | None = None
    task: str = ""
    intervals: dict[str, Interval] = field(default_factory=dict)
    folds: tuple[dict[str, float | None], ...] = ()

    def value(self, part: str) -> Interval | None:
        """Return a part's mean and 95 % interval; without folds the interval has no width."""
        mean = self.means[part]
        return None if mean is None else self.intervals.get(part, Interval(mean, mean, mean))


@dataclass(frozen=True, kw_only=True)
class EvaluationFacts:
    """An evaluation.

    Attributes
    ----------
    title, protocol, reference : str
    methods : tuple of Method
    notes : tuple of str
        The table's own.
    margins : tuple of Margin
        Every variant against every baseline.
    splits : tuple of Split
    agreement : Agreement or None
        Of the judges.
    scores : sequence of sequence of dict
        Of each fold and seed, by the run's variant; empty where it was not evaluated.
    attention : dict of str to dict
        For each variant that was measured: network -> means and errors of "mass", "pointing".
    differences : tuple of str
        How the evaluated rankers differ from the run, in words.
    """

    title: str
    protocol: str
    reference: str
    methods: tuple[Method, ...]
    notes: tuple[str, ...]
    margins: tuple[Margin, ...]
    splits: tuple[Split, ...]
    agreement: Agreement | None
    scores: Scores
    attention: dict[str, dict[str, dict[str, float | None]]]
    differences: tuple[str, ...]

    @property
    def part(self) -> str:
        """The strictest accuracy available: of pairs of two unseen videos, else of all pairs."""
        some = self.method(self.reference)
        return "both_unseen" if some and some.means["both_unseen"] is not None else "accuracy"

    def method(self, name: str) -> Method | None:
        """Return a method by name."""
        return next((each for each in self.whole if each.name == name), None)

    @property
    def whole(self) -> tuple[Method, ...]:
        """The methods on the whole set, without the rows of its tasks."""
        return tuple(each for each in self.methods if not each.task)


def read_evaluation(folder: Path, sources: Sources) -> EvaluationFacts:
    """Read a finished evaluation.

    Parameters
    ----------
    folder : path
        Output of evaluate.
    sources : Sources
        The run of the page, to name how the evaluation differs from it.

    Raises
    ------
    InputError
        There is no finished evaluation, or it is damaged.
    """
    record = read_folds(folder)
    if record is None or not (folder / "results.json").is_file():
        raise InputError(
            f"{folder}: no finished evaluation (results.json, folds.json); see pipeline evaluate"
        )
    content = read_json(folder / "results.json")
    try:
        runs = content["runs"]
        baselines = content.get("baselines", ())
        return EvaluationFacts(
            title=str(content["title"]),
            protocol=str(content["protocol"]),
            reference=str(content["reference"]),
            methods=tuple(_method(row, record, runs, baselines) for row in content["rows"]),
            notes=tuple(str(note) for note in content["notes"]),
            margins=tuple(Margin(**each) for each in content.get("margins", ())),
            splits=record.splits,
            agreement=record.agreement,
            scores=_scores("variant", sources.run.ranker.variant, record, runs),
            attention=_attention(content),
            differences=tuple(_differences(folder, sources, runs)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: damaged evaluation ({error!r}); evaluate again") from error


def _method(
    row: Mapping[str, Any],
    record: FoldsRecord,
    runs: Sequence[Mapping[str, Any]],
    baselines: Sequence[Mapping[str, Any]],
) -> Method:
    """Return a row of the table, with folds and intervals where the method scores videos."""
    name, kind, task = str(row["method"]), str(row["kind"]), str(row.get("task", ""))
    means = {part: as_number(row[part]["mean"]) for part in PARTS}
    if kind == "variant":
        scores = _scores("variant", name, record, runs)
    else:
        scores = _scores("baseline", name.removesuffix(" (baseline)"), record, baselines)
    if task:
        splits = tuple(of_task(split, task, record.tasks) for split in record.splits)
        record = replace(record, splits=splits)
    folds, intervals = _folds(record, scores) if scores else ((), {})
    if folds and not math.isclose(
        intervals["accuracy"].mean, means["accuracy"] or 0.0, abs_tol=_SAME
    ):
        raise ValueError(f"{name}: the mean of its folds is not that of the table")
    return Method(
        name=f"{name}, {task}" if task else name,
        kind=kind,
        means=means,
        errors={part: as_number(row[part]["error"]) for part in PARTS},
        published=as_number(row.get("published")),
        task=task,
        intervals=intervals,
        folds=folds,
    )


def as_number(value: Any) -> float | None:
    """Return a number of a table, or None where it has none."""
    return None if value is None else float(value)


def _scores(
    kind: str, name: str, record: FoldsRecord, entries: Sequence[Mapping[str, Any]]
) -> Scores:
    """Return the scores of a variant or a baseline in each fold; empty where there are none."""
    own = [each for each in entries if each[kind] == name]
    scores = [[each["scores"] for each in own if each["fold"] == s.name] for s in record.splits]
    return scores if all(scores) else ()


def _folds(
    record: FoldsRecord, scores: Scores
) -> tuple[tuple[dict[str, float | None], ...], dict[str, Interval]]:
    """Return the accuracies in each fold, and their means with intervals."""
    outcomes = [
        np.array([right(each, split.test) for each in seeds], float)
        for split, seeds in zip(record.splits, scores, strict=True)
    ]
    unseen = [np.array(split.unseen()) for split in record.splits]
    folds: list[dict[str, float | None]] = [{} for _ in record.splits]
    intervals = {}
    for part, count in PARTS.items():
        pairs, kept = [], []
        for fold, split, outcome, number in zip(
            folds, record.splits, outcomes, unseen, strict=True
        ):
            chosen = np.flatnonzero(number == count if count is not None else number >= 0)
            fold[part] = float(outcome[:, chosen].mean()) if chosen.size else None
            if chosen.size:
                pairs.append([split.test[i] for i in chosen])
                kept.append(outcome[:, chosen])
        if pairs:
            intervals[part] = accuracy_interval(pairs, kept, record.groups)
    return tuple(folds), intervals


def _attention(content: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return mean and standard error of the measures, by variant and by network."""
    measures: dict[str, dict[str, dict[str, float | None]]] = {}
    names = ("mass_mean", "mass_error", "pointing_mean", "pointing_error")
    for row in content.get("attention", ()):
        numbers = {name: as_number(row[name]) for name in names}
        measures.setdefault(str(row["variant"]), {})[str(row["attention"])] = numbers
    return measures


def _differences(folder: Path, sources: Sources, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name how the evaluated rankers differ from the run."""
    run = sources.run
    own = [each for each in runs if each["variant"] == run.ranker.variant]
    if not own:
        return [f"no ranker of the run's variant, {run.ranker.variant}"]
    path = folder / "runs" / f"{own[0]['variant']}-fold1-seed{own[0]['seed']}.json"
    if not path.is_file():
        return []
    settings = read_json(path)["settings"]
    differences = []
    for what, options in (("ranker", recorded_ranker(run.ranker)), ("train", asdict(run.train))):
        for name, value in options.items():
            other = settings[what].get(name, value)
            if other != value:
                differences.append(f"{name.replace('_', ' ')} {other} (the run: {value})")
    keys = sorted(own[0]["scores"])
    if set(keys) != set(run.keys):
        differences.append(f"{len(keys)} videos (the run: {len(run.keys)})")
    elif sources.digests:
        text = " ".join([*keys, *(sources.digests[key] for key in keys)])
        if hashlib.sha256(text.encode()).hexdigest()[:16] != settings["features"]:
            differences.append("other features")
    return differences

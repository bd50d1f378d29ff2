"""What an evaluation found, as a report shows it: methods, intervals, folds, attention."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import InputError
from data.splits import Split
from pipeline.baselines import training_sign
from pipeline.evaluation_statistics import Interval, right
from pipeline.report_accuracy import accuracy_interval
from pipeline.report_record import FoldsRecord, read_folds, read_json

if TYPE_CHECKING:
    from data.annotations.options import DatasetOptions
    from pipeline.report_sources import Sources

# Recomputed means agree with the table's to rounding, if folds and table belong together.
_SAME = 1e-9
_PARTS = ("accuracy", "both_unseen", "one_unseen")


@dataclass(frozen=True)
class Method:
    """A row: a trained variant, a baseline, or a bound.

    Attributes
    ----------
    name, kind : str
        As in the table.
    means, errors : dict of str to float or None
        Of "accuracy", "both_unseen" and "one_unseen", as shares; standard errors of the means.
    count : int
        Folds that the means are of.
    intervals : dict of str to Interval
        95 %, of the same; where the folds are known.
    folds : tuple of dict
        The same three of each fold, means over seeds; where the folds are known.
    published : float or None
        Per cent.
    """

    name: str
    kind: str
    means: dict[str, float | None]
    errors: dict[str, float | None]
    count: int = 1
    intervals: dict[str, Interval] = field(default_factory=dict)
    folds: tuple[dict[str, float | None], ...] = ()
    published: float | None = None

    def value(self, part: str) -> Interval | None:
        """Return a part's mean and 95 % interval: bootstrapped, or Student's for the fold means."""
        from scipy.stats import t

        mean, error = self.means[part], self.errors[part]
        if part in self.intervals or mean is None:
            return self.intervals.get(part)
        half = 0.0
        if error is not None and self.count > 1:
            half = float(t.ppf(0.975, self.count - 1)) * error
        return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


@dataclass(frozen=True)
class EvaluationFacts:
    """An evaluation.

    Attributes
    ----------
    folder : Path
    title, protocol, reference : str
    methods : tuple of Method
    notes : tuple of str
        The table's own.
    splits : tuple of Split
        Empty where the folds are not known.
    scores : tuple of tuple of dict
        Of each fold and seed, by the run's variant; empty where it or the folds are not known.
    attention : dict of str to dict
        For each variant that was measured: network -> means and errors of "mass", "pointing".
    apart : tuple of str
        In what the evaluation differs from the run, in words.
    trainings : int
    seconds : float or None
        Of all trainings together.
    """

    folder: Path
    title: str
    protocol: str
    reference: str
    methods: tuple[Method, ...]
    notes: tuple[str, ...]
    splits: tuple[Split, ...]
    scores: tuple[tuple[Mapping[str, float], ...], ...]
    attention: dict[str, dict[str, dict[str, float | None]]]
    apart: tuple[str, ...]
    trainings: int
    seconds: float | None

    @property
    def part(self) -> str:
        """The strictest accuracy that there is: of pairs of two unseen videos, else of all."""
        some = self.method(self.reference)
        return "both_unseen" if some and some.means["both_unseen"] is not None else "accuracy"

    def method(self, name: str) -> Method | None:
        """Return a method by name."""
        return next((each for each in self.methods if each.name == name), None)


def read_evaluation(
    folder: Path, sources: Sources, pairs: Path | None, options: DatasetOptions | None
) -> EvaluationFacts:
    """Read a finished evaluation.

    Parameters
    ----------
    folder : path
        Output of evaluate.
    sources : Sources
        The run that is reported, to say in what the evaluation differs from it.
    pairs, options : optional
        What evaluate was given: the folds of an evaluation that did not record them.

    Raises
    ------
    InputError
        There is no finished evaluation, or it is damaged.
    """
    if not (folder / "results.json").is_file():
        raise InputError(f"{folder}: no finished evaluation (results.json); see pipeline evaluate")
    content = read_json(folder / "results.json")
    try:
        rows, runs = content["rows"], content["runs"]
        record = read_folds(folder) or _drawn(pairs, options, runs)
        methods, trusted = _methods(rows, runs, record, folder)
        return EvaluationFacts(
            folder,
            str(content["title"]),
            str(content["protocol"]),
            str(content["reference"]),
            methods,
            tuple(str(note) for note in content["notes"]),
            record.splits if record and trusted else (),
            _scores_of(sources.run.ranker.variant, record, runs) if record and trusted else (),
            _attention(content),
            tuple(_apart(folder, sources, runs)),
            len(runs),
            _seconds(runs),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: damaged evaluation ({error!r}); evaluate again") from error


def _drawn(
    pairs: Path | None, options: DatasetOptions | None, runs: Sequence[Mapping[str, Any]]
) -> FoldsRecord | None:
    """Draw the folds again; whether they are the same shows when means are compared."""
    if pairs is None or not runs:
        return None
    from data.annotations.options import DatasetOptions
    from data.annotations.reading import read_with_options
    from data.pairs import Pair

    dataset = read_with_options(pairs, options or DatasetOptions())
    known = dataset.match(list(runs[0]["scores"])).keys

    def named(listed: Sequence[Pair]) -> list[Pair]:
        both = (p for p in listed if p.better in known and p.worse in known)
        return [Pair(known[pair.better], known[pair.worse]) for pair in both]

    splits = tuple(Split(named(f.train), named(f.test), f.name) for f in dataset.folds)
    groups = dataset.groups if dataset.folds_keep_groups else None
    renamed = {known[name]: group for name, group in (groups or {}).items() if name in known}
    return FoldsRecord(splits, renamed or None, dataset.known)


def _methods(
    rows: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
    record: FoldsRecord | None,
    folder: Path,
) -> tuple[tuple[Method, ...], bool]:
    """Return the table's rows, with their folds where these lead to the table's means."""
    plain = [_method(row) for row in rows]
    if record is None:
        return tuple(plain), False
    measured = _baselines(folder)
    full = []
    for method in plain:
        scored = _scored(method, record, runs, measured)
        full.append(_with_folds(method, record, scored) if scored else method)
    known = [each for each in full if each.kind == "variant"]
    if known and all(each.folds for each in known):
        return tuple(full), True
    return tuple(plain), False


def _method(row: Mapping[str, Any]) -> Method:
    means = {part: _number(row[part]["mean"]) for part in _PARTS}
    errors = {part: _number(row[part]["error"]) for part in _PARTS}
    published = _number(row.get("published"))
    count = max(int(row[part]["folds"]) for part in _PARTS)
    return Method(str(row["method"]), str(row["kind"]), means, errors, count, published=published)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _scores_of(
    variant: str, record: FoldsRecord, runs: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Mapping[str, float], ...], ...]:
    """Return a variant's scores of each fold and seed; empty where it was not evaluated."""
    mine = [run for run in runs if run["variant"] == variant]
    found = [tuple(run["scores"] for run in mine if run["fold"] == s.name) for s in record.splits]
    return tuple(found) if all(found) else ()


def _scored(
    method: Method,
    record: FoldsRecord,
    runs: Sequence[Mapping[str, Any]],
    measured: Mapping[str, Mapping[str, float]],
) -> list[list[Mapping[str, float]]]:
    """Return scores of each fold and seed; nothing for chance and bounds."""
    if method.kind == "variant":
        return [list(seeds) for seeds in _scores_of(method.name, record, runs)]
    values = measured.get(method.name.removesuffix(" (baseline)"))
    if values is None:
        return []
    signs = [training_sign(values, split.train) for split in record.splits]
    return [[{key: sign * value for key, value in values.items()}] for sign in signs]


def _with_folds(
    method: Method, record: FoldsRecord, scored: Sequence[Sequence[Mapping[str, float]]]
) -> Method:
    """Add folds and intervals; unchanged where they do not lead to the method's mean."""
    try:
        right_of = [
            np.array([right(scores, split.test) for scores in seeds], float)
            for split, seeds in zip(record.splits, scored, strict=True)
        ]
    except KeyError:  # Other videos than those of the evaluation.
        return method
    if not all(each.size for each in right_of):
        return method
    counts = [np.array(split.unseen()) for split in record.splits]
    folds: list[dict[str, float | None]] = [{} for _ in record.splits]
    intervals = {}
    for part, wanted in zip(_PARTS, (None, 2, 1), strict=True):
        kept = [np.full(len(c), True) if wanted is None else c == wanted for c in counts]
        for fold, each, keep in zip(folds, right_of, kept, strict=True):
            fold[part] = float(each[:, keep].mean()) if keep.any() else None
        some = [i for i, keep in enumerate(kept) if keep.any()]
        if some:
            intervals[part] = accuracy_interval(
                [[p for p, k in zip(record.splits[i].test, kept[i], strict=True) if k]
                 for i in some],
                [right_of[i][:, kept[i]] for i in some],
                record.groups,
            )  # fmt: skip
    told = method.means["accuracy"]
    if told is None or not math.isclose(intervals["accuracy"].mean, told, abs_tol=_SAME):
        return method
    return replace(method, intervals=intervals, folds=tuple(folds))


def _baselines(folder: Path) -> dict[str, dict[str, float]]:
    path = folder / "baselines.csv"
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name != "video"]
    return {name: {row["video"]: float(row[name]) for row in rows} for name in names}


def _attention(content: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return mean and standard error of the measures, by variant and by network."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    names = ("mass_mean", "mass_error", "pointing_mean", "pointing_error")
    for row in content.get("attention", ()):
        measured = {name: _number(row[name]) for name in names}
        found.setdefault(str(row["variant"]), {})[str(row["attention"])] = measured
    return found


def _apart(folder: Path, sources: Sources, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in what the evaluated rankers differ from the run."""
    run = sources.run
    mine = [each for each in runs if each["variant"] == run.ranker.variant]
    if not mine:
        return [f"the run's variant, {run.ranker.variant}, was not among those evaluated"]
    name = f"{mine[0]['variant']}-fold1-seed{mine[0]['seed']}.json"
    if not (folder / "runs" / name).is_file():
        return []
    settings = read_json(folder / "runs" / name)["settings"]
    told = []
    for what, ours in (("ranker", asdict(run.ranker)), ("train", asdict(run.train))):
        for option, value in ours.items():
            other = settings[what].get(option, value)
            if other != value:
                told.append(f"{option.replace('_', ' ')} {other}, the run {value}")
    digests = dict(zip(run.keys, sources.about.get("feature_digests", ()), strict=False))
    keys = sorted(mine[0]["scores"])
    if set(keys) != set(run.keys):
        told.append(f"{len(keys)} videos, the run {len(run.keys)}")
    elif digests:
        text = " ".join([*keys, *(digests[key] for key in keys)])
        if hashlib.sha256(text.encode()).hexdigest()[:16] != settings["features"]:
            told.append("other features")
    return told


def _seconds(runs: Sequence[Mapping[str, Any]]) -> float | None:
    taken = [float(run["seconds"]) for run in runs if "seconds" in run]
    return sum(taken) if taken and len(taken) == len(runs) else None

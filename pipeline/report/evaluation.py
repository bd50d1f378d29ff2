"""What an evaluation found, as a report shows it: its methods, attention, and how it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from data.judgements.splits import Split
from pipeline.report.methods import Method, as_number, methods_of, scores_of
from pipeline.runs.record import FoldsRecord, read_folds, read_json

if TYPE_CHECKING:
    from data.judgements.options import DatasetOptions
    from pipeline.report.sources import Sources


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
        methods, trusted = methods_of(rows, runs, record, folder)
        return EvaluationFacts(
            folder,
            str(content["title"]),
            str(content["protocol"]),
            str(content["reference"]),
            methods,
            tuple(str(note) for note in content["notes"]),
            record.splits if record and trusted else (),
            scores_of(sources.run.ranker.variant, record, runs) if record and trusted else (),
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
    from data.judgements.options import DatasetOptions
    from data.judgements.pairs import Pair
    from data.judgements.reading import read_with_options

    dataset = read_with_options(pairs, options or DatasetOptions())
    known = dataset.match(list(runs[0]["scores"])).keys

    def named(listed: Sequence[Pair]) -> list[Pair]:
        both = (p for p in listed if p.better in known and p.worse in known)
        return [Pair(known[pair.better], known[pair.worse]) for pair in both]

    splits = tuple(Split(named(f.train), named(f.test), f.name) for f in dataset.folds)
    groups = dataset.groups if dataset.folds_keep_groups else None
    renamed = {known[name]: group for name, group in (groups or {}).items() if name in known}
    return FoldsRecord(splits, renamed or None, dataset.known)


def _attention(content: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return mean and standard error of the measures, by variant and by network."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    names = ("mass_mean", "mass_error", "pointing_mean", "pointing_error")
    for row in content.get("attention", ()):
        measured = {name: as_number(row[name]) for name in names}
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

"""What is in judgements: a table of pairs or scores, or a published data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from data.judgements.comparisons import Comparison, tables_of_judges
from data.judgements.options import DatasetOptions
from data.judgements.pairs import check_pairs
from data.judgements.reading import read_dataset, tasks_in
from data.tables import read_rows
from pipeline.inspect.judges import add_judges, add_ranking
from pipeline.inspect.report import Report, failure
from pipeline.runs.judgements import describe
from pipeline.shell.words import counted

if TYPE_CHECKING:
    from data.judgements.dataset import Dataset


def inspect_pairs(
    path: Path,
    shown: str,
    options: DatasetOptions,
    features: Path | None = None,
    *,
    ranking: bool = False,
) -> list[Report]:
    """Report what is in judgements, for each task.

    Parameters
    ----------
    path : Path
        A table of pairs or scores, or the folder of a published data set.
    shown : str
        The name in the report.
    options : DatasetOptions
        Which form and task, and which folds; all tasks if none is named.
    features : Path, optional
        Feature caches whose names are compared with the judged videos.
    ranking : bool
        Add the order that the judgements give.
    """
    reports = []
    for task in _tasks(path, options):
        name = shown if task is None else f"{shown} ({task})"
        try:
            dataset, warnings = _read(path, replace(options, task=task))
            report = _report(dataset, name)
            report.warnings += warnings
            _add_judges(report, dataset, ranking)
            _add_matches(report, dataset, path, features)
        except InputError as error:
            report = failure(name, path, "judgements", error)
        reports.append(report)
    return reports


def inspect_boxes(path: Path, shown: str) -> Report:
    """Report how many boxes of how many videos a table holds, for `evaluate --boxes`."""
    rows = read_rows(path)[1:]
    videos = sorted({row.cells[0] for row in rows})
    report = Report(shown, "boxes", facts={"boxes": len(rows), "videos": videos})
    report.brief = f"{counted(len(rows), 'box', 'boxes')} in {counted(len(videos), 'video')}"
    report.add("holds", f"{report.brief}; `pipeline evaluate --boxes` measures attention by them")
    return report


def _tasks(path: Path, options: DatasetOptions) -> Sequence[str | None]:
    """Return the tasks to report on: the requested one, or all that a folder holds."""
    if options.task is not None or path.is_file():
        return [options.task]
    try:
        return tasks_in(path, options.dataset) or [None]
    except InputError:
        return [None]  # Reading reports what is wrong.


def _read(path: Path, options: DatasetOptions) -> tuple[Dataset, list[str]]:
    """Read judgements; if no folds can be drawn, without folds and with a warning."""
    try:
        return read_dataset(path, options), []
    except InputError as error:
        published = path.is_dir() and not tables_of_judges(path)
        if published or options.dataset not in ("auto", "csv"):
            raise
        # Unreadable tables fail here again, with the same words.
        dataset = read_dataset(path, replace(options, group_by=None), divided=False)
        return replace(dataset, folds_source="none"), [str(error)]


def _report(dataset: Dataset, shown: str) -> Report:
    checks = check_pairs(dataset.pairs)
    report = Report(shown, "judgements")
    report.brief = (
        f"{counted(checks.distinct, 'pair')} of {counted(checks.videos, 'video')}, "
        f"attainable {checks.attainable_text}"
    )
    report.facts = {
        "name": dataset.name,
        "videos": dataset.videos,
        "pairs": {"listed": checks.listed, "distinct": checks.distinct},
        "duplicates": [[p.better, p.worse, times] for p, times in checks.duplicates],
        "contradictions": [[p.better, p.worse, a, b] for p, a, b in checks.contradictions],
        "cycles": [list(group) for group in checks.cycles],
        "shortest_cycle": list(checks.shortest_cycle),
        "unconnected_groups": checks.components,
        "attainable": {"bound": checks.attainable},
        "scored": dataset.scores is not None,
        "groups": len(set(dataset.groups.values())) if dataset.groups else None,
        "judged_parts": {name: asdict(span) for name, span in dataset.spans.items()},
        "folds_source": dataset.folds_source,
        "folds": [_fold(fold) for fold in dataset.folds],
    }
    report.rows = [("" if number else "holds", line) for number, line in enumerate(_lines(dataset))]
    return report


def _add_judges(report: Report, dataset: Dataset, ranking: bool) -> None:
    """Add the judges' agreement, where the judgements name them; the order if asked for."""
    if dataset.comparisons:
        add_judges(report, dataset.comparisons, ranking=ranking)
    elif ranking:
        add_ranking(report, [Comparison(pair=pair) for pair in dataset.pairs])


def _lines(dataset: Dataset) -> list[str]:
    lines = describe(dataset)
    return lines if dataset.folds else [line for line in lines if not line.startswith("folds (")]


def _fold(fold: Any) -> dict[str, Any]:
    unseen = fold.unseen()
    return {
        "name": fold.name,
        "train_pairs": len(fold.train),
        "train_videos": len(fold.train_videos),
        "test_pairs": len(fold.test),
        "both_unseen": unseen.count(2),
        "one_unseen": unseen.count(1),
        "none_unseen": unseen.count(0),
    }


def _add_matches(report: Report, dataset: Dataset, path: Path, features: Path | None) -> None:
    """Report which judged names belong to existing videos or caches."""
    from data.cache.folder import find_caches
    from data.sources import find_sources

    if features is not None:
        _add_match(report, dataset, "features", list(find_caches(features, "features")), features)
    if path.is_dir():
        try:
            keys = [source.key for source in find_sources([path])]
        except InputError:
            return  # Published annotations are seldom in the folder of their videos.
        _add_match(report, dataset, "videos", keys, path)


def _add_match(
    report: Report, dataset: Dataset, what: str, keys: Sequence[str], where: Path
) -> None:
    try:
        matching = dataset.match(keys)
    except InputError as error:
        report.problems.append(str(error))
        return
    total = len(dataset.videos)
    unused = sorted(set(keys) - set(matching.keys.values()))
    report.facts[f"matched_{what}"] = matching.keys
    report.facts[f"unknown_in_{what}"] = list(matching.unknown)
    text = f"{len(matching.keys)} of {counted(total, 'judged video')} found in {where}"
    if unused:
        text += f"; {len(unused)} there not judged, e.g. {', '.join(unused[:3])}"
    report.add(what, text)
    if matching.unknown:
        report.warnings.append(matching.complaint(str(where)))

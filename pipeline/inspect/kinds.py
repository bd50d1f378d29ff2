"""What kind of thing each path is, and the report that fits it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from data.errors import InputError
from data.files import is_system_name
from data.judgements.boxes import COLUMNS as BOX_COLUMNS
from data.judgements.comparisons import is_comparison_table
from data.judgements.options import DatasetOptions
from data.judgements.reading import formats_in, recognise
from data.sources import find_sources
from data.tables import read_rows
from pipeline.inspect.cache import inspect_cache
from pipeline.inspect.folder import Contents, summarise, survey
from pipeline.inspect.judgements import inspect_boxes, inspect_pairs
from pipeline.inspect.judges import inspect_judges
from pipeline.inspect.options import InspectOptions
from pipeline.inspect.report import Report, failure, without_path
from pipeline.inspect.run import (
    RESULTS,
    inspect_evaluation,
    inspect_run,
    inspect_weights,
    is_evaluation,
    is_run,
)
from pipeline.inspect.verify import Upstream
from pipeline.inspect.video import glance_at_video, inspect_video
from pipeline.runner.jobs import JobOptions, run_jobs

_HDF5 = b"\x89HDF\r\n\x1a\n"
#: Several workers pay off from this number of files: starting one takes seconds.
_WORKERS_FROM = 8


@dataclass(frozen=True)
class Item:
    """One file, or a folder that is reported as one thing."""

    kind: str
    path: Path
    shown: str


def inspect_paths(paths: Sequence[str], options: InspectOptions) -> list[Report]:
    """Report on each path, in the given order; a problem in one does not stop the others.

    Raises
    ------
    InputError
        A path does not exist.
    """
    caches = _flow_caches([*paths, *([] if options.flow is None else [options.flow])])
    inspection = Inspection(options, Upstream.of(caches))
    expanded = [_expand(path, options) for path in paths]
    singles = [item for items in expanded for item in items if item.kind != "folder"]
    tables = [
        item.path
        for item in singles
        if item.kind == "judgements" and is_comparison_table(item.path)
    ]
    together = len(tables) > 1  # Several judges: their order is that of all.
    if together:
        inspection = replace(inspection, options=replace(options, ranking=False))
    reports = dict(zip(singles, inspection.all_of(singles, closely=True), strict=True))
    listed = [
        report
        for items in expanded
        for item in items
        for report in (inspection.folder(item) if item.kind == "folder" else reports[item])
    ]
    return [*listed, inspect_judges(tables, ranking=options.ranking)] if together else listed


def _flow_caches(paths: Iterable[str | Path]) -> list[Path]:
    """Return the files among and below the paths that may be flow caches."""
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.rglob("*.h5")) if path.is_dir() else [path] * _is_hdf5(path)
    return [path for path in files if not is_system_name(path.name)]


def _expand(given: str, options: InspectOptions) -> list[Item]:
    """Return the items that a path stands for: several for a list of videos."""
    path = Path(given)
    if given.startswith("@") and not path.exists():
        return _listed([given], given, options.exclude)
    if not path.exists():
        raise InputError(f"{given}: no such file or folder")
    if path.is_dir() and (several := _several_forms(path, options)):
        return several
    kind = _folder_kind(path, options) if path.is_dir() else file_kind(path, options.dataset)
    return _listed([given], given, options.exclude) if kind == "list" else [Item(kind, path, given)]


def _several_forms(folder: Path, options: InspectOptions) -> list[Item]:
    """Return the items of a folder with annotations of several forms; none for other folders."""
    if options.dataset.dataset != "auto" or options.dataset.task is not None:
        return []
    if is_run(folder) or is_evaluation(folder) or len(forms := formats_in(folder)) < 2:
        return []
    items = [Item("judgements", place, str(place)) for place in dict.fromkeys(forms.values())]
    contents = survey(folder, options.exclude)
    more = contents.videos or contents.caches or contents.runs or contents.evaluations
    return [Item("folder", folder, str(folder)), *items] if more else items


def _listed(inputs: Sequence[str], given: str, exclude: Sequence[str]) -> list[Item]:
    try:
        return [Item("video", each.path, each.key) for each in find_sources(inputs, exclude)]
    except InputError as error:
        return [Item(f"unusable list: {without_path(str(error), given)}", Path(given), given)]


def _folder_kind(path: Path, options: InspectOptions) -> str:
    """Return what a folder is: one thing of its own, or a collection of files."""
    if options.dataset.dataset != "auto" or options.dataset.task is not None:
        return "judgements"
    for kind, fits in (("run", is_run), ("evaluation", is_evaluation)):
        if fits(path):
            return kind
    try:
        recognise(path)
        return "judgements"
    except InputError:
        pass
    try:
        sources = find_sources([path])
    except InputError:
        return "folder"
    alone = len(sources) == 1 and sources[0].path == Path(os.path.abspath(path))
    return "video" if alone and not any(path.rglob("*.h5")) else "folder"


def file_kind(path: Path, dataset: DatasetOptions) -> str:
    """Return what a file is, by its first bytes and its name."""
    if not path.is_file():  # Reading a pipe or a device would never end.
        return "unusable path: neither a file nor a folder"
    suffix = path.suffix.lower()
    if _is_hdf5(path):
        return "cache"
    if dataset.dataset != "auto" or suffix in (".npy", ".mat"):
        return "judgements"
    if suffix == ".csv":
        return _table_kind(path)
    if suffix == ".txt":
        return "judgements" if _is_text(path) else "video"
    if suffix == ".safetensors":
        return "weights"
    return "results" if path.name == RESULTS else "video"


def _is_hdf5(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix.lower() in (".h5", ".hdf5"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_HDF5)) == _HDF5
    except OSError:
        return False


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"\0" not in file.read(4096)
    except OSError:
        return False


def _table_kind(path: Path) -> str:
    """Distinguish judgements, lists of videos and boxes by the header; default is judgements."""
    try:
        rows = read_rows(path)
    except InputError:
        return "judgements"
    header = {name.lower() for name in rows[0].cells} if rows else set()
    if rows and rows[0].cells == BOX_COLUMNS:
        return "boxes"
    scored = header & {"score", "skill", "better", "best"}
    return "list" if header & {"video", "path"} and not scored else "judgements"


@dataclass(frozen=True)
class Inspection:
    """Reports on items, with the options and the known flow caches; picklable."""

    options: InspectOptions
    upstream: Upstream

    def folder(self, item: Item) -> list[Report]:
        """Report on a folder, from the reports on its files."""
        contents = survey(item.path, self.options.exclude)
        reports = self.all_of(_items(item.path, contents), closely=False)
        files = [each for several in reports for each in several]
        report = summarise(item.path, item.shown, contents, files)
        report.listed = self.options.each
        return [report]

    def all_of(self, items: Sequence[Item], *, closely: bool) -> list[list[Report]]:
        """Report on many items, with several workers if that pays off."""
        task = partial(self.one, closely=closely)
        if len(items) < _WORKERS_FROM:
            return [task(item) for item in items]
        costly = closely or self.options.verify or self.options.each
        jobs = JobOptions(jobs=self.options.jobs if costly else 1)
        outcome = run_jobs(task, items, jobs, desc="inspect", unit="file", name=_name)
        reports = dict(outcome.results)
        for item, message in outcome.failures:
            reports[item] = [_unusable(item, InputError(message))]
        return [reports[item] for item in items]

    def one(self, item: Item, closely: bool) -> list[Report]:
        """Report on one item; `closely` reads the values in caches, and decodes videos."""
        try:
            return self._one(item, closely)
        except (InputError, OSError) as error:
            return [_unusable(item, error)]

    def _one(self, item: Item, closely: bool) -> list[Report]:
        options = self.options
        if item.kind == "cache":
            return [
                inspect_cache(
                    item.path,
                    item.shown,
                    values=closely or options.verify,
                    verify=options.verify,
                    upstream=self.upstream,
                    videos=options.videos,
                )
            ]
        if item.kind == "video":
            if closely or options.each or options.verify or options.strict:
                return [inspect_video(item.path, item.shown, options.strict)]
            return [glance_at_video(item.path, item.shown)]
        if item.kind == "judgements":
            return inspect_pairs(
                item.path, item.shown, options.dataset, options.features, ranking=options.ranking
            )
        if item.kind in _SINGLE:
            return [_SINGLE[item.kind](item.path, item.shown)]
        kind, _, message = item.kind.partition(": ")
        return [Report(item.shown, kind, problems=[message])]


_SINGLE = {
    "run": inspect_run,
    "evaluation": inspect_evaluation,
    "results": lambda path, shown: inspect_evaluation(path.parent, shown),
    "weights": inspect_weights,
    "boxes": inspect_boxes,
}


def _unusable(item: Item, error: Exception) -> Report:
    return failure(item.shown, item.path, item.kind, error)


def _name(item: Item) -> str:
    return item.shown


def _items(folder: Path, contents: Contents) -> list[Item]:
    groups = {
        "video": contents.videos,
        "cache": contents.caches,
        "run": contents.runs,
        "evaluation": contents.evaluations,
        "weights": contents.weights,
    }
    # Without "..", as the paths of videos are.
    root = Path(os.path.abspath(folder))
    return [
        Item(kind, path, Path(os.path.abspath(path)).relative_to(root).as_posix())
        for kind, paths in groups.items()
        for path in paths
    ]

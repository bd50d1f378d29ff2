"""From the paths that a user gives to reports on them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from data.errors import InputError
from data.judgements.boxes import COLUMNS as BOX_COLUMNS
from data.judgements.options import DatasetOptions
from data.judgements.reading import formats_in, recognise
from data.judgements.rows import read_rows
from data.sources import find_sources
from pipeline.inspect.cache import inspect_cache
from pipeline.inspect.folder import Contents, summarise, survey
from pipeline.inspect.judgements import inspect_boxes, inspect_pairs
from pipeline.inspect.report import Report, without_path
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
#: Files from which more than one worker pays: starting one takes seconds.
_WORKERS_FROM = 8


@dataclass(frozen=True)
class Look:
    """How closely to look.

    Attributes
    ----------
    verify, each, strict : bool
        As the flags of the command.
    jobs : int
        Workers for many files.
    dataset : DatasetOptions
        How judgements are read.
    features : Path or None
        Feature caches whose names judgements are compared with.
    upstream : Upstream
        Flow caches that feature caches may have been made from.
    videos : Path or None
        Where source videos are that are no longer at their place.
    """

    verify: bool = False
    each: bool = False
    strict: bool = False
    jobs: int = -1
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    features: Path | None = None
    upstream: Upstream = field(default_factory=Upstream)
    videos: Path | None = None


@dataclass(frozen=True)
class Item:
    """One file, or folder that stands for one thing."""

    kind: str
    path: Path
    shown: str


def inspect_paths(paths: Sequence[str], look: Look) -> list[Report]:
    """Report on each path, in the order given; nothing that is found in one stops the others.

    Raises
    ------
    InputError
        A path does not exist.
    """
    found = [_expand(given, look) for given in paths]
    singles = [item for items in found for item in items if item.kind != "folder"]
    reports = dict(zip(singles, _inspect_all(singles, look, closely=True), strict=True))
    return [
        report
        for items in found
        for item in items
        for report in (_folder(item, look) if item.kind == "folder" else reports[item])
    ]


def flow_caches(paths: Iterable[str | Path]) -> list[Path]:
    """Files among and below the paths given that may be flow caches."""
    found: list[Path] = []
    for path in map(Path, paths):
        found += sorted(path.rglob("*.h5")) if path.is_dir() else [path] * _is_hdf5(path)
    return found


def _expand(given: str, look: Look) -> list[Item]:
    """Return what a path stands for; several items where it is a list of videos."""
    path = Path(given)
    if given.startswith("@") and not path.exists():
        return _listed([given], given)
    if not path.exists():
        raise InputError(f"{given}: no such file or folder")
    if path.is_dir() and (several := _several_forms(path, look)):
        return several
    kind = _folder_kind(path, look) if path.is_dir() else file_kind(path, look.dataset)
    return _listed([given], given) if kind == "list" else [Item(kind, path, given)]


def _several_forms(folder: Path, look: Look) -> list[Item]:
    """Return what a folder with annotations of several forms stands for; else nothing."""
    if look.dataset.dataset != "auto" or look.dataset.task is not None:
        return []
    if is_run(folder) or is_evaluation(folder) or len(forms := formats_in(folder)) < 2:
        return []
    items = [Item("judgements", place, str(place)) for place in dict.fromkeys(forms.values())]
    found = survey(folder)
    more = found.videos or found.caches or found.runs or found.evaluations
    return [Item("folder", folder, str(folder)), *items] if more else items


def _listed(inputs: Sequence[str], given: str) -> list[Item]:
    try:
        return [Item("video", each.path, each.key) for each in find_sources(inputs)]
    except InputError as error:
        return [Item(f"unusable list: {without_path(str(error), given)}", Path(given), given)]


def _folder_kind(path: Path, look: Look) -> str:
    """Say what a folder is: one thing of its own, or a collection of files."""
    if look.dataset.dataset != "auto" or look.dataset.task is not None:
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
    """Say what a file is, by its first bytes and its name."""
    if not path.is_file():  # a pipe or a device would be waited for without end
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
    """Tell judgements, lists of videos and boxes by the header; the rest is read as judgements."""
    try:
        rows = read_rows(path)
    except InputError:
        return "judgements"
    header = {name.lower() for name in rows[0].cells} if rows else set()
    if rows and rows[0].cells == BOX_COLUMNS:
        return "boxes"
    scored = header & {"score", "skill", "better", "best"}
    return "list" if header & {"video", "path"} and not scored else "judgements"


def _inspect_all(items: Sequence[Item], look: Look, *, closely: bool) -> list[list[Report]]:
    """Report on many items, by several workers where that pays."""
    task = partial(inspect_item, look=look, closely=closely)
    if len(items) < _WORKERS_FROM:
        return [task(item) for item in items]
    costly = closely or look.verify or look.each
    jobs = look.jobs if costly else 1
    done = run_jobs(task, items, JobOptions(jobs=jobs), desc="inspect", unit="file", name=_name)
    return [report for _, report in done.results]


def _name(item: Item) -> str:
    return item.shown


def inspect_item(item: Item, look: Look, closely: bool) -> list[Report]:
    """Report on one item; `closely` reads the values in caches, and decodes videos."""
    if item.kind == "cache":
        return [
            inspect_cache(
                item.path,
                item.shown,
                values=closely or look.verify,
                verify=look.verify,
                upstream=look.upstream,
                videos=look.videos,
            )
        ]
    if item.kind == "video":
        if closely or look.each or look.verify or look.strict:
            return [inspect_video(item.path, item.shown, look.strict)]
        return [glance_at_video(item.path, item.shown)]
    if item.kind == "judgements":
        return inspect_pairs(item.path, item.shown, look.dataset, look.features)
    single = {
        "run": inspect_run,
        "evaluation": inspect_evaluation,
        "weights": inspect_weights,
        "boxes": inspect_boxes,
    }
    if item.kind in single:
        return [single[item.kind](item.path, item.shown)]
    if item.kind == "results":
        return [inspect_evaluation(item.path.parent, item.shown)]
    kind, _, message = item.kind.partition(": ")
    return [Report(item.shown, kind, problems=[message])]


def _folder(item: Item, look: Look) -> list[Report]:
    contents = survey(item.path)
    reports = _inspect_all(_items(item.path, contents), look, closely=False)
    report = summarise(
        item.path, item.shown, contents, [each for found in reports for each in found]
    )
    report.listed = look.each
    return [report]


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

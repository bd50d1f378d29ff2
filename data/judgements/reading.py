"""Reading judgements of any format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data.errors import InputError
from data.judgements.comparisons import (
    Comparison,
    decided,
    read_comparisons,
    read_judges,
    tables_of_judges,
    tied,
)
from data.judgements.dataset import Dataset, by_majority, with_drawn_folds, with_groups
from data.judgements.formats import FORMATS, jigsaws
from data.judgements.options import DATASETS, DatasetOptions
from data.judgements.pairs import (
    is_score_table,
    pairs_from_scores,
    read_scores,
)

_DEFAULT_FOLDS = 4


def read_dataset(
    path: str | Path,
    options: DatasetOptions | None = None,
    *,
    divided: bool = True,
    same: Callable[[Dataset], Mapping[str, str]] | None = None,
) -> Dataset:
    """Read judgements in any known format.

    Parameters
    ----------
    path : str or Path
        A data set's folder, a file of pairs, or a file of scores.
    options : DatasetOptions, optional
        The format, its task, and which folds.
    divided : bool
        Draw folds where none are published, or where the options ask for it. Otherwise such a
        data set has none, so that a single pair can be read too.
    same : function, optional
        Gives names that stand for the same video one label: they stay in one drawn fold.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        The path is missing, its format is not recognised, or a file is malformed.
    """
    path, options = Path(path), options or DatasetOptions()
    if not path.exists():
        raise InputError(f"expected a data set's folder or a file of pairs, {path} does not exist")
    if options.dataset not in DATASETS:
        raise InputError(f"unknown data set '{options.dataset}': choose from {', '.join(DATASETS)}")
    name, place = _format_of(path, options.dataset)
    if name == "csv":
        dataset = _read_own(place, options.score_gap or 0.0)
    else:
        dataset = FORMATS[name].read(place, options.task, options.score_gap)
    if options.judges == "majority":
        dataset = by_majority(dataset)
    folds, group_by, seed = options.folds, options.group_by, options.fold_seed
    if name == "jigsaws":
        alike = same(dataset) if same and divided else {}
        return jigsaws.with_folds(dataset, folds or 0, group_by, seed, divided=divided, same=alike)
    if not divided:
        return with_groups(dataset, group_by)
    if dataset.folds and folds is None and group_by is None:
        return dataset
    count = _DEFAULT_FOLDS if folds is None else folds
    return with_drawn_folds(dataset, count, group_by, seed, same(dataset) if same else {})


def tasks_in(path: Path, dataset: str = "auto") -> list[str]:
    """Tasks of the annotations at `path`; none where the format has no tasks."""
    name, place = _format_of(path, dataset)
    return FORMATS[name].tasks(place) if name in FORMATS else []


def recognise(path: Path) -> tuple[str, Path]:
    """Return the format of the annotations at `path`, and the folder or file that holds them.

    Raises
    ------
    InputError
        No format fits, or several do.
    """
    if path.is_file():
        fitting = (name for name, form in FORMATS.items() if form.holds(path))
        return next(fitting, "csv"), path
    places = formats_in(path)
    if not places and tables_of_judges(path):
        return "csv", path
    if len(places) != 1:
        what = (
            f"several ({', '.join(places)}): choose one by --dataset"
            if places
            else f"none; expected one of {', '.join(DATASETS[1:])}"
        )
        raise InputError(f"{path}: which annotations it holds is not clear, found {what}")
    return next(iter(places.items()))


def formats_in(folder: Path) -> dict[str, Path]:
    """Return the formats of annotations in a folder or directly below it, with their places."""
    places = {name: _place(folder, name) for name in FORMATS}
    return {name: place for name, place in places.items() if place is not None}


def _format_of(path: Path, dataset: str) -> tuple[str, Path]:
    """Return the format and the place of annotations, as recognised or as asked for."""
    if dataset == "auto":
        return recognise(path)
    if path.is_file():
        if dataset in ("epic-skills", "raan", "best", "jigsaws"):
            raise InputError(f"--dataset {dataset} expects a folder, {path} is a file")
        return dataset, path
    if dataset == "csv" and tables_of_judges(path):
        return dataset, path
    if dataset == "csv":
        raise InputError(
            f"--dataset csv expects a file with the columns 'better,worse' or 'video,score', or a "
            f"folder of nothing but the former, {path} is another folder"
        )
    return dataset, _place(path, dataset) or path


def _place(path: Path, name: str) -> Path | None:
    """Return `path`, or else a folder directly in it, that holds annotations of a format."""
    return next((place for place in _near(path) if FORMATS[name].holds(place)), None)


def _near(path: Path) -> Sequence[Path]:
    return [path, *sorted(child for child in path.iterdir() if child.is_dir())]


def _read_own(path: Path, score_gap: float) -> Dataset:
    """Read a user's own ``better,worse`` or ``video,score`` table, or text file of pairs."""
    scores: dict[str, float] | None = None
    judged: list[Comparison] = []
    if path.is_dir():
        judged = read_judges(tables_of_judges(path))
        pairs = decided(judged)
    elif is_score_table(path):
        scores = read_scores(path)
        pairs = pairs_from_scores(scores, score_gap)
    else:
        judged = read_comparisons(path)
        pairs = decided(judged)
    if not pairs:
        reason = f"differ by more than {score_gap:g}; give a smaller --score-gap"
        raise InputError(f"{path}: no two scores {reason if score_gap else 'differ'}")
    return Dataset(path.stem, pairs, [], scores=scores, tied=tied(judged), comparisons=judged)

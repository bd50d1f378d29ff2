"""One entrance to all annotation readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from data.errors import InputError
from data.judgements import table
from data.judgements.dataset import Dataset
from data.judgements.formats import best, epic_skills, infant_grasp, jigsaws, mit_dive, raan
from data.judgements.options import DatasetOptions, Format

FORMATS: tuple[str, ...] = get_args(Format)
DEFAULT_FOLDS = 4


def read_dataset(
    path: str | Path,
    dataset: str = "auto",
    task: str | None = None,
    *,
    folds: int | None = None,
    group_by: str | None = None,
    score_gap: float | None = None,
    seed: int = 0,
    divided: bool = True,
) -> Dataset:
    """Read judgements in any known form.

    Parameters
    ----------
    path : str or Path
        A data set's folder, a file of pairs, or a file of scores.
    dataset : str
        One of `FORMATS`; ``"auto"`` recognises the form by its files.
    task : str, optional
        Which task of a data set with several.
    folds : int, optional
        Draw so many folds in place of the published ones; where there are none published the
        default is 4 (JIGSAWS: one supertrial left out at a time). 0: one group at a time.
    group_by : str, optional
        Draw folds that keep groups together: a regular expression for the names, or for JIGSAWS
        ``"subject"`` or ``"supertrial"``.
    score_gap : float, optional
        Two scored videos are a pair when their scores differ by more (default 0; MIT-Dive 5).
    seed : int
        Chooses drawn folds.
    divided : bool
        Draw folds where none are published or `folds` or `group_by` ask for it. Otherwise such a
        data set has none, so that a single pair can be read too.

    Returns
    -------
    Dataset
        Pairs, folds and what else the annotation tells.

    Raises
    ------
    InputError
        When the path is missing, its form is not recognised, or a file is malformed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"expected a data set's folder or a file of pairs, {path} does not exist")
    if dataset not in FORMATS:
        raise InputError(f"unknown data set '{dataset}': choose from {', '.join(FORMATS)}")
    kind, place = recognise(path) if dataset == "auto" else (dataset, _locate(path, dataset))
    if kind == "csv":
        return table.read(
            place,
            folds=DEFAULT_FOLDS if folds is None else folds,
            group_by=group_by,
            score_gap=score_gap or 0.0,
            seed=seed,
            divided=divided,
        )
    if kind == "jigsaws":
        return jigsaws.read(
            place,
            task,
            folds=folds or 0,
            group_by=group_by,
            score_gap=score_gap or 0.0,
            seed=seed,
            divided=divided,
        )
    found = _read_published(kind, place, task, score_gap)
    if not divided:
        return table.with_groups(found, group_by)
    if folds is None and group_by is None:
        return found
    return table.with_drawn_folds(found, DEFAULT_FOLDS if folds is None else folds, group_by, seed)


def read_with_options(
    path: str | Path, options: DatasetOptions, *, divided: bool = True
) -> Dataset:
    """Read judgements as the flags of a command say; see `read_dataset`."""
    return read_dataset(
        path,
        options.dataset,
        options.task,
        folds=options.folds,
        group_by=options.group_by,
        score_gap=options.score_gap,
        seed=options.fold_seed,
        divided=divided,
    )


def _read_published(kind: str, place: Path, task: str | None, score_gap: float | None) -> Dataset:
    if kind == "mit-dive":
        return mit_dive.read(place, mit_dive.SCORE_GAP if score_gap is None else score_gap)
    if kind == "infant-grasp":
        return infant_grasp.read(place)
    readers = {"epic-skills": epic_skills.read, "raan": raan.read, "best": best.read}
    return readers[kind](place, task)


def recognise(path: Path) -> tuple[str, Path]:
    """Return the form of the annotations at `path`, and the folder or file that holds them.

    Raises
    ------
    InputError
        When no form fits, or several do.
    """
    if path.is_file():
        return _recognise_file(path), path
    found = forms_in(path)
    if len(found) != 1:
        what = (
            f"several ({', '.join(found)}): choose one by --dataset"
            if found
            else f"none; expected one of {', '.join(FORMATS[1:])}"
        )
        raise InputError(f"{path}: which annotations it holds is not clear, found {what}")
    return next(iter(found.items()))


def forms_in(folder: Path) -> dict[str, Path]:
    """Return the forms of annotations in a folder or directly below it, and where each is."""
    places = {kind: _place(folder, kind) for kind in FORMATS[1:-1]}
    return {kind: place for kind, place in places.items() if place is not None}


def _recognise_file(path: Path) -> str:
    if path.suffix.lower() in (".npy", ".mat"):
        return "mit-dive"
    if path.name.startswith("meta_file_") and path.suffix == ".txt":
        raise InputError(f"{path}: give the folder that holds this JIGSAWS meta file")
    if path.suffix.lower() == ".txt" and infant_grasp.is_file(path):
        return "infant-grasp"
    return "csv"


def _locate(path: Path, kind: str) -> Path:
    """Return where below `path` the annotations of form `kind` are; a file is its own place."""
    if kind == "csv" and path.is_dir():
        raise InputError(
            f"--dataset csv expects a file with the columns 'better,worse' or "
            f"'video,score', {path} is a folder"
        )
    if kind in ("epic-skills", "raan", "best", "jigsaws") and path.is_file():
        raise InputError(f"--dataset {kind} expects a folder, {path} is a file")
    return path if path.is_file() else _place(path, kind) or path


def _place(path: Path, kind: str) -> Path | None:
    """Return `path`, or else a folder directly in it, that holds annotations of form `kind`."""
    return next((place for place in _near(path) if _holds(place, kind)), None)


def _near(path: Path) -> Sequence[Path]:
    return [path, *sorted(child for child in path.iterdir() if child.is_dir())]


def _holds(place: Path, kind: str) -> bool:
    if kind == "epic-skills":
        return epic_skills.is_folder(place)
    if kind == "raan":
        return raan.is_folder(place)
    if kind == "best":
        return best.is_folder(place)
    if kind == "infant-grasp":
        return (place / infant_grasp.FILE).is_file()
    if kind == "jigsaws":
        return bool(jigsaws.meta_files(place))
    return mit_dive.score_file(place) is not None

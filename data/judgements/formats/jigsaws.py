"""JIGSAWS: ``<Task>/{video,kinematics,transcriptions}`` and ``meta_file_<Task>.txt``.

Gao et al.: The JHU-ISI Gesture and Skill Assessment Working Set, M2CAI 2014. A line of a meta file
is a trial's name, the surgeon's level (E, I or N), the global rating score (GRS) and its six
elements, between single or doubled tabs. Pairs are made from the GRS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import InputError
from data.judgements.dataset import Dataset, choose_task
from data.judgements.pairs import pairs_from_scores
from data.judgements.splits import group_of, k_fold_by_group
from data.tables import read_words

LEVELS = ("N", "I", "E")
# Names are <Task>_<subject letter><three-digit trial>.
GROUPS = {"supertrial": r"(\d{3})$", "subject": r"_([A-Z])\d{3}$"}


@dataclass(frozen=True)
class Trial:
    """One line of a meta file.

    Attributes
    ----------
    name : str
        E.g. ``Suturing_B001``: subject B, first trial.
    level : str
        The surgeon's experience: ``"E"`` (expert), ``"I"`` (intermediate) or ``"N"`` (novice).
    score : int
        Global rating score, 6 to 30.
    elements : tuple of int
        Its six elements, 1 to 5 each: respect for tissue, suture and needle handling, time and
        motion, flow of operation, overall performance, quality of the final product.
    """

    name: str
    level: str
    score: int
    elements: tuple[int, ...]


def meta_files(folder: Path) -> dict[str, Path]:
    """Return the meta file of each task in `folder`, at most two folders deep."""
    files: dict[str, Path] = {}
    for pattern in ("", "*/", "*/*/"):
        for path in sorted(folder.glob(f"{pattern}meta_file_*.txt")):
            files.setdefault(path.stem.removeprefix("meta_file_"), path)
    return files


def read_trials(path: Path) -> list[Trial]:
    """Read a meta file.

    Raises
    ------
    InputError
        A line is not a name, a level, a score and six elements.
    """
    trials = [_trial(path, row.line, row.cells) for row in read_words(path)]
    if not trials:
        raise InputError(f"{path} is empty: expected a trial a line")
    return trials


def _trial(path: Path, line: int, cells: tuple[str, ...]) -> Trial:
    try:
        name, level, *numbers = cells
        score, *elements = map(int, numbers)
        if level not in LEVELS or len(elements) != 6:
            raise ValueError
    except ValueError as error:
        raise InputError(
            f"{path}, line {line}: expected a trial, E, I or N, the score and its six "
            f"elements, found '{' '.join(cells)}'"
        ) from error
    return Trial(name, level, score, tuple(elements))


def holds(path: Path) -> bool:
    """Whether a folder holds meta files; a single one is refused.

    Raises
    ------
    InputError
        The path is a meta file.
    """
    if path.is_dir():
        return bool(meta_files(path))
    if path.name.startswith("meta_file_") and path.suffix == ".txt":
        raise InputError(f"{path}: give the folder that holds this JIGSAWS meta file")
    return False


def tasks(folder: Path) -> list[str]:
    """Return the tasks of a folder."""
    return list(meta_files(folder))


def read(folder: Path, task: str | None = None, score_gap: float | None = None) -> Dataset:
    """Read one task: every two trials whose scores differ by more than `score_gap` are a pair.

    Parameters
    ----------
    folder : Path
        The data set's folder, or one task's.
    task : str, optional
        ``"Suturing"``, ``"Knot_Tying"`` or ``"Needle_Passing"``.
    score_gap : float, optional
        Pairs need a greater difference of scores, by default 0.
    """
    metas = meta_files(folder)
    if not metas:
        raise InputError(f"{folder}: expected meta_file_<Task>.txt, found none")
    chosen = choose_task(task, metas, folder)
    scores = {trial.name: float(trial.score) for trial in read_trials(metas[chosen])}
    return Dataset(
        f"JIGSAWS, {chosen.replace('_', ' ').lower()}",
        pairs_from_scores(scores, score_gap or 0.0),
        [],
        scores=scores,
        files={
            name: (f"{chosen}/video/{name}_capture2", f"{name}_capture2", name) for name in scores
        },
    )


def with_folds(
    dataset: Dataset,
    folds: int,
    group_by: str | None,
    seed: int,
    *,
    divided: bool,
    same: Mapping[str, str] | None = None,
) -> Dataset:
    """Return the data set with folds; by default one supertrial is left out at a time.

    Parameters
    ----------
    dataset : Dataset
        One task.
    folds : int
        Number of folds; 0 leaves out one group at a time, as the data set's own protocols do.
    group_by : str, optional
        ``"supertrial"`` (the i-th trial of every surgeon together; the default of folds),
        ``"subject"`` (the default without folds), or a regular expression for the trial's name.
    seed : int
        Chooses which groups go together.
    divided : bool
        Draw folds; otherwise there are none.
    same : mapping of str to str, optional
        Names with one label, which are the same video, stay in one fold.
    """
    kind = group_by or ("supertrial" if divided else "subject")
    pattern = GROUPS.get(kind, kind)
    return replace(
        dataset,
        folds=k_fold_by_group(dataset.pairs, folds, pattern, seed, same) if divided else [],
        folds_source=f"{f'{folds} drawn' if folds else 'one left out at a time'}, by {kind}",
        groups=group_of(dataset.videos, pattern),
        folds_keep_groups=True,
    )

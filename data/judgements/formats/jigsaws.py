"""JIGSAWS: ``<Task>/{video,kinematics,transcriptions}`` and ``meta_file_<Task>.txt``.

Gao et al.: The JHU-ISI Gesture and Skill Assessment Working Set, M2CAI 2014. A line of a meta file
is a trial's name, the surgeon's level (E, I or N), the global rating score (GRS) and its six
elements, between single or doubled tabs. Pairs are made from the GRS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from data.judgements.dataset import Dataset, choose_task
from data.judgements.pairs import pairs_from_scores
from data.judgements.rows import read_words
from data.judgements.splits import group_of, k_fold_by_group

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
    found: dict[str, Path] = {}
    for pattern in ("", "*/", "*/*/"):
        for path in sorted(folder.glob(f"{pattern}meta_file_*.txt")):
            found.setdefault(path.stem.removeprefix("meta_file_"), path)
    return found


def read_trials(path: Path) -> list[Trial]:
    """Read a meta file.

    Raises
    ------
    InputError
        When a line is not a name, a level, a score and six elements.
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


def read(
    folder: Path,
    task: str | None = None,
    *,
    folds: int = 0,
    group_by: str | None = None,
    score_gap: float = 0.0,
    seed: int = 0,
    divided: bool = True,
) -> Dataset:
    """Read one task: every two trials whose scores differ by more than `score_gap` are a pair.

    Parameters
    ----------
    folder : Path
        The data set's folder, or one task's.
    task : str, optional
        ``"Suturing"``, ``"Knot_Tying"`` or ``"Needle_Passing"``.
    folds : int
        Number of folds; 0 leaves out one group at a time, as the data set's own protocols do.
    group_by : str, optional
        ``"supertrial"`` (the i-th trial of every surgeon together; the default of folds),
        ``"subject"`` (the default without folds), or a regular expression for the trial's name.
    score_gap : float
        Pairs need a greater difference of scores.
    seed : int
        Chooses which groups go together.
    divided : bool
        Draw folds; otherwise there are none.
    """
    metas = meta_files(folder)
    if not metas:
        raise InputError(f"{folder}: expected meta_file_<Task>.txt, found none")
    chosen = choose_task(task, metas, folder)
    scores = {trial.name: float(trial.score) for trial in read_trials(metas[chosen])}
    pairs = pairs_from_scores(scores, score_gap)
    kind = group_by or ("supertrial" if divided else "subject")
    pattern = GROUPS.get(kind, kind)
    return Dataset(
        f"JIGSAWS, {chosen.replace('_', ' ').lower()}",
        pairs,
        k_fold_by_group(pairs, folds, pattern, seed) if divided else [],
        scores,
        folds_source=f"{f'{folds} drawn' if folds else 'one left out at a time'}, by {kind}",
        files={
            name: (f"{chosen}/video/{name}_capture2", f"{name}_capture2", name) for name in scores
        },
        groups=group_of(scores, pattern),
        folds_keep_groups=True,
    )

"""MIT-Dive: 159 dives with judges' scores; the first 100 train, the others test.

Pirsiavash, Vondrick, Torralba: Assessing the Quality of Actions, ECCV 2014. The published code of
the spatial attention network pairs dives whose scores differ by more than 5, trains on dives 1–100
and tests within 101–159. Dives are called ``001``, ``002``, … as their video files are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from data.judgements.dataset import Dataset
from data.judgements.pairs import pairs_from_scores, read_scores
from data.judgements.splits import Split
from data.tables import read_text

if TYPE_CHECKING:
    import numpy as np

DIVES = 159
TRAIN = 100
SCORE_GAP = 5.0
_NAMES = ("diving_overall_scores", "overall_scores")
_SUFFIXES = (".npy", ".mat", ".csv", ".txt")


def holds(path: Path) -> bool:
    """Whether a folder holds the score file, or a file is an array."""
    if path.is_dir():
        return score_file(path) is not None
    return path.suffix.lower() in (".npy", ".mat")


def tasks(folder: Path) -> list[str]:
    """Return nothing: the data set is one task."""
    return []


def score_file(folder: Path) -> Path | None:
    """Return the score file in `folder`, or None."""
    places = (folder / f"{name}{suffix}" for name in _NAMES for suffix in _SUFFIXES)
    return next((path for path in places if path.is_file()), None)


def read(path: Path, task: str | None = None, score_gap: float | None = None) -> Dataset:
    """Read the scores and make the published split.

    Parameters
    ----------
    path : Path
        Score file, or the folder with ``diving_overall_scores`` in one of the forms ``.npy``,
        ``.mat`` (variable ``overall_scores``), ``.csv`` (``video,score``) or ``.txt`` (a score a
        line). Scores after the 159th, of later releases, are left out.
    task : None
        The data set is one task.
    score_gap : float, optional
        Pairs need a greater difference of scores, by default `SCORE_GAP`.

    Raises
    ------
    InputError
        There is no such file, or it has fewer than 159 scores.
    """
    import numpy as np

    file = score_file(path) if path.is_dir() else path
    if file is None:
        raise InputError(f"{path}: expected {_NAMES[0]} with one of {', '.join(_SUFFIXES)}")
    values = _read_table(file) if file.suffix == ".csv" else _read_array(file)
    if len(values) < DIVES or not np.isfinite(values[:DIVES]).all():
        raise InputError(f"{file}: expected {DIVES} finite scores, found {len(values)} values")
    scores = {f"{i:03}": float(value) for i, value in enumerate(values[:DIVES], 1)}
    train = dict(list(scores.items())[:TRAIN])
    test = dict(list(scores.items())[TRAIN:])
    gap = SCORE_GAP if score_gap is None else score_gap
    split = Split(pairs_from_scores(train, gap), pairs_from_scores(test, gap), "1")
    return Dataset(
        "MIT-Dive",
        [*split.train, *split.test],
        [split],
        scores=scores,
        files={name: (name,) for name in scores},
    )


def _read_table(path: Path) -> np.ndarray:
    """Return the scores of a ``video,score`` table in the order of the dives' numbers."""
    scores = read_scores(path)
    try:
        by_number = {int(Path(name).stem): score for name, score in scores.items()}
    except ValueError as error:
        raise InputError(
            f"{path}: expected videos called by their numbers, 001 to {DIVES}, "
            f"found e.g. {next(iter(scores))}"
        ) from error
    if missing := [n for n in range(1, DIVES + 1) if n not in by_number]:
        raise InputError(
            f"{path}: no score of {len(missing)} dives of {DIVES}, e.g. {missing[0]:03}"
        )
    import numpy as np

    return np.array([by_number[n] for n in range(1, DIVES + 1)])


def _read_array(path: Path) -> np.ndarray:
    import numpy as np

    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif path.suffix == ".mat":
            from scipy.io import loadmat

            values = loadmat(path)["overall_scores"]
        else:
            values = np.array([float(word) for word in read_text(path).split()])
        return np.asarray(values, np.float64).ravel()
    except (OSError, EOFError, KeyError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: expected an array of scores, cannot read it: {error}") from error

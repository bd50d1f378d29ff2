"""Infant grasping: ``annotation.txt`` with ``a b label``, and four folds by order.

Li, Huang, Cai, Sato: Manipulation-skill Assessment from Videos with Spatial Attention Network,
ICCV Workshops 2019. Label 1: the first video is better; −1: the second; 0: no preference.
"""

from __future__ import annotations

from pathlib import Path

from data.errors import InputError
from data.judgements.dataset import Dataset
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split, split_by_videos
from data.tables import read_words

FILE = "annotation.txt"
FOLDS = 4
_LABELS = ("-1", "0", "1")


def holds(path: Path) -> bool:
    """Whether a folder holds the file, or a text file's first line is two names and a label."""
    if path.is_dir():
        return (path / FILE).is_file()
    rows = read_words(path) if path.suffix.lower() == ".txt" else []
    return bool(rows) and len(rows[0].cells) == 3 and rows[0].cells[2].lstrip("+") in _LABELS


def tasks(folder: Path) -> list[str]:
    """Return nothing: the data set is one task."""
    return []


def read(path: Path, task: str | None = None, score_gap: float | None = None) -> Dataset:
    """Read the labels and make the paper's four folds.

    The folds are consecutive quarters, ⌊n/4⌋ videos each, of the videos in order; videos left
    over always train. A pair of a test and a training video is tested.

    Differs from the paper: its code takes the order in which the operating system lists the
    folder, which cannot be reproduced; here it is the order of the names, so the folds are not
    exactly the authors'.

    Raises
    ------
    InputError
        The file is missing, or a line is not two videos and a label of −1, 0 or 1.
    """
    path = path / FILE if path.is_dir() else path
    pairs, ties, names = _read_labels(path)
    if len(names) < FOLDS:
        raise InputError(
            f"{path}: expected at least {FOLDS} videos for {FOLDS} folds, found {len(names)}"
        )
    quarter = len(names) // FOLDS
    folds = [
        split_by_videos(pairs, names[n * quarter : (n + 1) * quarter], str(n + 1))
        for n in range(FOLDS)
    ]
    _refuse_empty(path, folds)
    undecided = f"; {len(ties)} undecided left out" if ties else ""
    return Dataset(
        "Infant grasp",
        pairs,
        folds,
        known="infant-grasp",
        folds_source=f"the paper's rule, by name order{undecided}",
        files={name: (name,) for name in videos_of(pairs)},
        tied=ties,
    )


def _read_labels(path: Path) -> tuple[list[Pair], list[Pair], list[str]]:
    """Return the decided pairs, the undecided ones, and all videos, sorted."""
    pairs: list[Pair] = []
    ties: list[Pair] = []
    names: set[str] = set()
    for row in read_words(path):
        if len(row.cells) != 3 or row.cells[2].lstrip("+") not in _LABELS:
            raise InputError(
                f"{path}, line {row.line}: expected two videos and a label -1, 0 or "
                f"1, found '{' '.join(row.cells)}'"
            )
        first, second, label = row.cells[0], row.cells[1], int(row.cells[2])
        if first == second:
            raise InputError(f"{path}, line {row.line}: '{first}' is compared with itself")
        names |= {first, second}
        if label:
            pairs.append(Pair(first, second) if label > 0 else Pair(second, first))
        else:
            ties.append(Pair(first, second))
    return pairs, ties, sorted(names)


def _refuse_empty(path: Path, folds: list[Split]) -> None:
    for fold in folds:
        if not fold.train or not fold.test:
            raise InputError(
                f"{path}: fold {fold.name} has {len(fold.train)} training and "
                f"{len(fold.test)} test pairs: too few judgements for four folds"
            )

"""Anybody's own judgements: a ``better,worse`` or a ``video,score`` table, with drawn folds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from data.errors import InputError
from data.judgements.dataset import Dataset
from data.judgements.pairs import pairs_from_scores, read_pairs
from data.judgements.rows import read_rows
from data.judgements.splits import group_of, k_fold_by_group, k_fold_by_video

_VIDEO = ("video", "path", "name")
_SCORE = ("score", "skill")


def is_score_table(path: Path) -> bool:
    """Whether a CSV has a column of videos and one of scores."""
    if path.suffix.lower() == ".txt":
        return False
    rows = read_rows(path)
    header = [name.lower() for name in rows[0].cells] if rows else []
    return any(name in header for name in _SCORE) and any(name in header for name in _VIDEO)


def read_scores(path: Path) -> dict[str, float]:
    """Read a CSV with the columns ``video,score`` (or ``skill``), in file order.

    Other columns are ignored.

    Raises
    ------
    InputError
        When a column is missing, a score is not a finite number, or a video is listed twice.
    """
    rows = read_rows(path)
    header = [name.lower() for name in rows[0].cells] if rows else []
    name_column = next((header.index(name) for name in _VIDEO if name in header), None)
    score_column = next((header.index(name) for name in _SCORE if name in header), None)
    if name_column is None or score_column is None:
        found = ",".join(rows[0].cells) if rows else "an empty file"
        raise InputError(f"{path}: expected the columns 'video,score', found '{found}'")
    scores: dict[str, float] = {}
    for row in rows[1:]:
        try:
            name, score = row.cells[name_column], float(row.cells[score_column])
            if not math.isfinite(score):
                raise ValueError
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{path}, line {row.line}: expected a video and a finite score, "
                f"found '{','.join(row.cells)}'"
            ) from error
        if name in scores:
            raise InputError(f"{path}, line {row.line}: '{name}' is listed twice")
        scores[name] = score
    if not scores:
        raise InputError(f"{path} holds no scores: expected one 'video,score' a line")
    return scores


def read(
    path: Path,
    *,
    folds: int = 4,
    group_by: str | None = None,
    score_gap: float = 0.0,
    seed: int = 0,
    divided: bool = True,
) -> Dataset:
    """Read either table and draw folds by video, or by the group that `group_by` names.

    Parameters
    ----------
    path : Path
        A table with the columns ``better,worse`` or ``video,score``, or a text file of pairs.
    folds : int
        Number of folds; 0 with `group_by` leaves out one group at a time.
    group_by : str, optional
        Regular expression for the videos' names (`data.judgements.splits.k_fold_by_group`).
    score_gap : float
        Two scored videos are a pair when their scores differ by more.
    seed : int
        Chooses the folds.
    divided : bool
        Draw folds; otherwise there are none.
    """
    scores = read_scores(path) if is_score_table(path) else None
    pairs = read_pairs(path) if scores is None else pairs_from_scores(scores, score_gap)
    if not pairs:
        told = f"differ by more than {score_gap:g}; give a smaller --score-gap"
        raise InputError(f"{path}: no two scores {told if score_gap else 'differ'}")
    undivided = Dataset(path.stem, pairs, [], scores)
    if not divided:
        return with_groups(undivided, group_by)
    return with_drawn_folds(undivided, folds, group_by, seed)


def with_groups(dataset: Dataset, group_by: str | None) -> Dataset:
    """Return the data set with the groups that a pattern finds in its names; folds as they are."""
    if not group_by:
        return dataset
    return replace(dataset, groups=group_of(dataset.videos, group_by))


def with_drawn_folds(dataset: Dataset, folds: int, group_by: str | None, seed: int) -> Dataset:
    """Return the data set with folds drawn by video, or by group where a pattern is given."""
    if not group_by:
        drawn = k_fold_by_video(dataset.pairs, folds, seed)
        return replace(dataset, folds=drawn, folds_source=f"{folds} drawn by video")
    drawn = k_fold_by_group(dataset.pairs, folds, group_by, seed)
    count = f"{folds} drawn" if folds else "one group left out at a time"
    return replace(
        dataset,
        folds=drawn,
        folds_source=f"{count}, by group '{group_by}'",
        groups=group_of(dataset.videos, group_by),
        folds_keep_groups=True,
    )

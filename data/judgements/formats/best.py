"""BEST, the Bristol Everyday Skill Tasks: five tasks of 100 videos, one published split each.

Doughty, Mayol-Cuevas, Damen, CVPR 2019. ``BEST.csv`` gives ``task,vid_id,start_seconds,
end_seconds``; ``splits/<task>/`` holds ``train.txt`` and ``test.txt`` (``better worse`` a line)
and ``train_vid_list.txt`` and ``test_vid_list.txt`` (a video a line).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from data.errors import InputError
from data.judgements.comparisons import read_pairs
from data.judgements.dataset import Dataset, Span, choose_task, folders_of_tasks
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split
from data.tables import read_rows, read_words

_TABLE = "BEST.csv"
_HEADER = ("task", "vid_id", "start_seconds", "end_seconds")


def holds(path: Path) -> bool:
    """Whether a folder holds ``splits/<task>/train_vid_list.txt``."""
    return bool(task_folders(path))


def tasks(folder: Path) -> list[str]:
    """Return the tasks of a folder."""
    return list(task_folders(folder))


def task_folders(folder: Path) -> dict[str, Path]:
    """Find the folder of each task that `folder`, or its ``splits``, holds."""
    return folders_of_tasks(folder, "train_vid_list.txt")


def read(folder: Path, task: str | None = None, score_gap: float | None = None) -> Dataset:
    """Read one task with its published split; names are ``<task>/<video id>``.

    Raises
    ------
    InputError
        The folder holds no such task, a file is missing or malformed, a pair names a
        video that its side's list does not, or a video is on both sides.
    """
    folders = task_folders(folder)
    if not folders:
        raise InputError(f"{folder}: expected {_TABLE} and splits/<task>/train_vid_list.txt")
    chosen = choose_task(task, folders, folder)
    place = folders[chosen]
    sides = {side: _read_side(place, side) for side in ("train", "test")}
    listed = {
        side: {row.cells[0] for row in read_words(place / f"{side}_vid_list.txt")} for side in sides
    }
    if both := sorted(listed["train"] & listed["test"]):
        raise InputError(
            f"{place}: {len(both)} videos are listed for training and for testing, "
            f"e.g. {', '.join(both[:3])}"
        )
    split = Split(_named(chosen, sides["train"]), _named(chosen, sides["test"]), "1")
    pairs = [*split.train, *split.test]
    spans = _read_spans(folder, chosen)
    files = {name: (name, name.split("/", 1)[1]) for name in videos_of(pairs)}
    return Dataset(
        f"BEST, {chosen.replace('_', ' ')}",
        pairs,
        [split],
        known="best",
        files=files,
        spans={name: spans[name] for name in files if name in spans},
    )


def _read_side(place: Path, side: str) -> list[Pair]:
    pairs = read_pairs(place / f"{side}.txt")
    listing = place / f"{side}_vid_list.txt"
    listed = {row.cells[0] for row in read_words(listing)}
    if unlisted := [name for name in videos_of(pairs) if name not in listed]:
        raise InputError(
            f"{place / side}.txt: {len(unlisted)} videos are not in {listing.name}, "
            f"e.g. {', '.join(unlisted[:3])}"
        )
    return pairs


def _named(task: str, pairs: Iterable[Pair]) -> list[Pair]:
    return [Pair(f"{task}/{pair.better}", f"{task}/{pair.worse}") for pair in pairs]


def _read_spans(folder: Path, task: str) -> dict[str, Span]:
    """Read the judged part of each downloaded video; empty where the table is missing."""
    path = next((p for p in (folder / _TABLE, folder.parent / _TABLE) if p.is_file()), None)
    if path is None:
        return {}
    rows = read_rows(path)
    if not rows or rows[0].cells != _HEADER:
        raise InputError(f"{path}: expected the columns '{','.join(_HEADER)}'")
    spans = {}
    for row in rows[1:]:
        try:
            of_task, video, _, _ = row.cells
            span = Span(row.number(2), row.number(3), "seconds")
        except ValueError as error:
            raise InputError(
                f"{path}, line {row.line}: expected a task, a video and two times, "
                f"found '{','.join(row.cells)}'"
            ) from error
        if of_task == task:
            spans[f"{task}/{video}"] = span
    return spans

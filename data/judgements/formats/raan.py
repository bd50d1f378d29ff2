"""Text pairs of Rank-Aware Attention: ``splits/<task>/{train,test}_split<n>.txt``.

Doughty, Mayol-Cuevas, Damen: The Pros and Cons: Rank-aware Temporal Attention for Skill
Determination in Long Videos, CVPR 2019. A line is ``better worse``, with the sub-task's folder in
the names of drawing and surgery. The folds are those of EPIC-Skills 2018 under other names, so
names are given as `data.judgements.formats.epic_skills` gives them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from data.errors import InputError
from data.judgements.comparisons import read_pairs
from data.judgements.dataset import Dataset, choose_task, folders_of_tasks
from data.judgements.formats import epic_skills
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split

_KNOWN = {
    "chopstick_using": "chopstick",
    "dough_rolling": "dough",
    "drawing": "drawing",
    "surgery": "surgery",
}


def holds(path: Path) -> bool:
    """Whether a folder holds ``splits/<task>/train_split1.txt``, or is its ``splits``."""
    return bool(task_folders(path))


def tasks(folder: Path) -> list[str]:
    """Return the tasks of a folder."""
    return list(task_folders(folder))


def task_folders(folder: Path) -> dict[str, Path]:
    """Find the folder of each task that `folder`, or its ``splits``, holds."""
    folders = folders_of_tasks(folder, "train_split1.txt")
    if (folder / "train_split1.txt").is_file():
        folders = {folder.name: folder}
    return folders


def read(folder: Path, task: str | None = None, score_gap: float | None = None) -> Dataset:
    """Read one task with its published folds.

    Raises
    ------
    InputError
        The folder holds no such task, or a file is missing or malformed.
    """
    folders = task_folders(folder)
    if not folders:
        raise InputError(f"{folder}: expected splits/<task>/train_split1.txt, found none")
    chosen = choose_task(task, folders, folder)
    place = folders[chosen]
    numbers = sorted(
        int(re.findall(r"\d+", path.stem)[-1]) for path in place.glob("train_split*.txt")
    )
    folds = [
        Split(
            _renamed(chosen, read_pairs(place / f"train_split{n}.txt")),
            _renamed(chosen, read_pairs(place / f"test_split{n}.txt")),
            str(n),
        )
        for n in numbers
    ]
    pairs = [*folds[0].train, *folds[0].test]
    files = {
        name: epic_skills.candidates(name, {}) if "/" in name else (name,)
        for name in videos_of(pairs)
    }
    title = f"EPIC-Skills (RAAN's files), {chosen.replace('_', ' ')}"
    groups = None
    if chosen in _KNOWN and chosen != "dough_rolling":
        groups = {name: epic_skills.participant(name) for name in files}
    parts = {name: name.partition("/")[0].replace("_", " ") for name in files if "/" in name}
    return Dataset(
        title,
        pairs,
        folds,
        known=_KNOWN.get(chosen),
        files=files,
        groups=groups,
        tasks=parts if len(set(parts.values())) > 1 else {},
    )


def _renamed(task: str, pairs: Iterable[Pair]) -> list[Pair]:
    return [Pair(epic_name(task, pair.better), epic_name(task, pair.worse)) for pair in pairs]


def epic_name(task: str, name: str) -> str:
    """Return the name that EPIC-Skills 2018 gives a video of this format.

    ``Suturing/Suturing_B001_capture2`` is ``Suturing/B001``, ``Hand/A1-S`` is
    ``Hand_Drawing/A1``, ``S07_roll_dough`` is ``Dough_Rolling/S07``. A name of another data set
    is left as it is.
    """
    if task == "chopstick_using":
        return f"Chopstick_Using/{name}"
    if task == "dough_rolling":
        return f"Dough_Rolling/{name.removesuffix('_roll_dough')}"
    sub, _, video = name.rpartition("/")
    if task == "drawing" and sub:
        return f"{sub}_Drawing/{video.removesuffix('-S')}"
    if task == "surgery" and sub:
        return f"{sub}/{video.removeprefix(sub + '_').removesuffix('_capture2')}"
    return name

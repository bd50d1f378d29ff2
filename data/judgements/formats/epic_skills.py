"""EPIC-Skills 2018: seven tasks with four published folds each, and two merged sets.

Doughty, Damen, Mayol-Cuevas: Who's Better? Who's Best? Pairwise Deep Ranking for Skill
Determination, CVPR 2018. Each task has ``<task>_gt.csv`` (``Vid1,Vid2,Best|Better``) and
``splits/<task>_{train,val}_{1..4}.csv`` (``Better,Worse``).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from data.errors import InputError
from data.judgements.comparisons import decided, read_comparisons, read_pairs, tied
from data.judgements.dataset import Dataset, Span, choose_task, join
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split
from data.tables import read_rows

TASKS = (
    "Chopstick_Using",
    "Dough_Rolling",
    "Hand_Drawing",
    "Sonic_Drawing",
    "Knot_Tying",
    "Needle_Passing",
    "Suturing",
)
MERGED = {
    "Drawing": ("Sonic_Drawing", "Hand_Drawing"),
    "Surgery": ("Knot_Tying", "Needle_Passing", "Suturing"),
}
KNOWN = {
    "Chopstick_Using": "chopstick",
    "Dough_Rolling": "dough",
    "Drawing": "drawing",
    "Surgery": "surgery",
}
FOLDS = (1, 2, 3, 4)
_SEGMENTS = "dough_rolling_segments.csv"


def holds(path: Path) -> bool:
    """Whether a folder is the data set, its ``annotations`` folder, or one task's folder."""
    return bool(task_folders(path))


def tasks(folder: Path) -> list[str]:
    """Return the tasks of a folder, then the merged ones."""
    single = list(task_folders(folder))
    return [*single, *(name for name, parts in MERGED.items() if set(parts) <= set(single))]


def read(folder: Path, task: str | None = None, score_gap: float | None = None) -> Dataset:
    """Read one task, or the merged ``drawing`` or ``surgery``, with its four published folds.

    Names are ``<Task>/<video>``, e.g. ``Suturing/B001``.

    Raises
    ------
    InputError
        The folder holds no such task, or a file is missing or malformed.
    """
    folders = task_folders(folder)
    if not folders:
        raise InputError(
            f"{folder}: expected EPIC-Skills task folders with <task>_gt.csv and "
            "splits/, found none"
        )
    chosen = choose_task(task, tasks(folder), folder)
    title = f"EPIC-Skills 2018, {chosen.replace('_', ' ').lower()}"
    if chosen in folders:
        return _read_task(folders[chosen], chosen, title, segments_near(folder))
    parts = [_read_task(folders[part], part, part.replace("_", " "), {}) for part in MERGED[chosen]]
    return join(title, parts, KNOWN[chosen])


def task_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each task found in `folder`, in ``annotations``, or as `folder`."""
    places = [folder / "annotations", folder, folder.parent]
    folders: dict[str, Path] = {}
    for task in TASKS:
        for place in places:
            here = place / task
            single = place != folder.parent or here == folder
            if single and (here / f"{task.lower()}_gt.csv").is_file():
                folders.setdefault(task, here)
    return folders


def _read_task(folder: Path, task: str, title: str, spans: dict[str, tuple[str, Span]]) -> Dataset:
    stem = task.lower()
    judged = read_comparisons(folder / f"{stem}_gt.csv")
    pairs = _named(task, decided(judged))
    folds = [
        Split(
            _named(task, read_pairs(folder / "splits" / f"{stem}_train_{n}.csv")),
            _named(task, read_pairs(folder / "splits" / f"{stem}_val_{n}.csv")),
            str(n),
        )
        for n in FOLDS
    ]
    names = videos_of(pairs)
    files = {name: candidates(name, spans) for name in names}
    parts = {name: spans[name][1] for name in names if name in spans}
    groups = None if task == "Dough_Rolling" else {name: participant(name) for name in names}
    return Dataset(
        title,
        pairs,
        folds,
        known=KNOWN.get(task),
        files=files,
        spans=parts,
        groups=groups,
        tied=_named(task, tied(judged)),
    )


def participant(name: str) -> str:
    """Return the person in ``<Task>/<letter><number>``: the task and the letter.

    The tasks of JIGSAWS document it, and their surgeons are the same in all three; for the other
    tasks it follows from the names' pattern. Each roll of dough has a participant of its own.
    """
    task, video = name.split("/", 1)
    return f"surgeon {video[0]}" if task in MERGED["Surgery"] else f"{task} {video[0]}"


def _named(task: str, pairs: Iterable[Pair]) -> list[Pair]:
    return [Pair(f"{task}/{pair.better}", f"{task}/{pair.worse}") for pair in pairs]


def candidates(name: str, spans: dict[str, tuple[str, Span]]) -> tuple[str, ...]:
    """Return the file names that ``<Task>/<video>`` may have, most specific first.

    Surgery uses the second camera of JIGSAWS; rolling dough is a part of a longer video, whose
    name the segments file gives; the names after those are of the cut features that Doughty et
    al. published with Rank-Aware Attention (2019).
    """
    task, video = name.split("/", 1)
    if task in MERGED["Surgery"]:
        return (f"{task}/{task}_{video}_capture2", f"{task}_{video}_capture2", name)
    if task in MERGED["Drawing"]:
        short = task.split("_", maxsplit=1)[0]
        return (
            name,
            f"{task}/{video}-S",
            f"{short}/{video}-S",
            f"{short}/{video}",
            f"{short}_{video}",
            f"{video}-S",
            video,
        )
    long_name = (spans[name][0],) if name in spans else ()
    cut = (f"{video}_roll_dough",) if task == "Dough_Rolling" else ()
    return (name, *long_name, *cut, video)


def segments_near(folder: Path) -> dict[str, tuple[str, Span]]:
    """Read which frames of which file show each rolling, where the segments file exists."""
    for place in (folder, folder.parent, folder.parent.parent):
        if (place / _SEGMENTS).is_file():
            return _read_segments(place / _SEGMENTS)
    return {}


def _read_segments(path: Path) -> dict[str, tuple[str, Span]]:
    rows = read_rows(path)
    if not rows or rows[0].cells != ("Video", "StartFrame", "EndFrame"):
        raise InputError(f"{path}: expected the columns 'Video,StartFrame,EndFrame'")
    spans = {}
    for row in rows[1:]:
        try:
            video, start, end = row.cells
            spans[f"Dough_Rolling/{video.split('_', maxsplit=1)[0]}"] = (
                video,
                Span(int(start), int(end), "frames"),
            )
        except ValueError as error:
            raise InputError(
                f"{path}, line {row.line}: expected a video and two frame numbers, "
                f"found '{','.join(row.cells)}'"
            ) from error
    return spans

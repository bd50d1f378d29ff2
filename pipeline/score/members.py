"""Several runs as one: the folds or seeds of an evaluation, or runs that the user names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.errors import InputError
from pipeline.runs.folder import CHECKPOINT
from pipeline.score.ranking import Reference
from pipeline.score.run import Member


def find_runs(folder: Path) -> list[Path]:
    """Find the run folders at or below a folder.

    Raises
    ------
    InputError
        There are none.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder")
    if folder.is_file() or (folder / CHECKPOINT).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.rglob(CHECKPOINT))
    if not found:
        raise InputError(
            f"{folder}: no trained ranker ({CHECKPOINT}) in it or below it; name runs of "
            "train-ranker, or a folder that holds them"
        )
    return found


def load_members(folders: Sequence[Path], variant: str | None) -> list[Member]:
    """Read runs that can be averaged: of one variant, trained on features made alike.

    Raises
    ------
    InputError
        They differ, or no run of the variant is there.
    """
    paths = list(dict.fromkeys(path for folder in folders for path in find_runs(folder)))
    members = [Member.load(path) for path in paths]
    variants = sorted({member.run.ranker.variant for member in members})
    if variant is not None:
        members = [member for member in members if member.run.ranker.variant == variant]
        if not members:
            raise InputError(f"--variant {variant}: there are only {', '.join(variants)}")
    elif len(variants) > 1:
        raise InputError(
            f"{folders[0]}: holds runs of {', '.join(variants)}; choose one with --variant"
        )
    first = members[0]
    for member in members[1:]:
        same = (member.run.weights, member.run.parameters) == (
            first.run.weights,
            first.run.parameters,
        )
        if not same:
            raise InputError(
                f"{member.folder}: was trained on features made otherwise than those of "
                f"{first.folder}; only runs on the same features can be averaged"
            )
    return members


def stage_one_of(member: Member) -> Path | None:
    """Return the nearest stage-one file at or above a run; None where there is none."""
    from pipeline.stage_one.file import FILE_NAME

    start = member.folder if member.folder.is_dir() else member.folder.parent
    for folder in list((start.resolve() / FILE_NAME).parents)[:3]:
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def common_reference(members: Sequence[Member]) -> tuple[Reference, np.ndarray]:
    """Return the ensemble's training videos, and what each member makes of them.

    Returns
    -------
    reference : Reference
        Videos that some member was trained on and all have scored; their mean scores, each
        member's first standardised on its own training videos.
    standardised : ndarray (M, V)
        The members' own.

    Raises
    ------
    InputError
        There are no such videos.
    """
    trained = {video for member in members for video in member.run.training_videos}
    scored = [dict(zip(m.run.keys, m.run.scores, strict=True)) for m in members]
    videos = tuple(
        video for video in members[0].run.keys
        if video in trained and all(video in each for each in scored)
    )  # fmt: skip
    if not videos:
        raise InputError("these runs have no training video in common to compare scores with")
    table = np.array(
        [
            [member.reference.standardised(each[video]) for video in videos]
            for member, each in zip(members, scored, strict=True)
        ]
    )
    return Reference(videos, table.mean(axis=0)), table


def short_names(members: Sequence[Member]) -> list[str]:
    """Return names for members that tell them apart."""
    names = [re.sub(r"[^\w.-]+", "_", member.folder.absolute().name) for member in members]
    if len(set(names)) == len(names):
        return names
    return [member.folder.as_posix() for member in members]

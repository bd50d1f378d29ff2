"""Writes the set: mp4 files, `pairs.csv`, `boxes.csv`, `skill.csv`, and its options, `set.json`.

A video appears under its name only when it is complete, and `set.json` only says what the
folder is for, so an interrupted set goes on where it stopped. All randomness comes from the
seed: a set made twice holds the same frames.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2

from data.errors import InputError
from data.synthetic.folder import PARTIAL, VIDEO_FOLDER, prepare_folder, publish
from data.synthetic.options import SkillEffects, SyntheticOptions
from data.synthetic.plan import SyntheticVideo, plan_set

__all__ = [
    "SyntheticVideo",
    "generate",
    "plan_set",
    "prepare_folder",
    "write_tables",
    "write_video",
]


def generate(
    folder: str | Path,
    videos: int = 32,
    seed: int = 0,
    options: SyntheticOptions | None = None,
    *,
    effects: SkillEffects | None = None,
    overwrite: bool = False,
    on_video: Callable[[SyntheticVideo], None] | None = None,
) -> list[SyntheticVideo]:
    """Write a whole set, or complete one that was begun.

    Parameters
    ----------
    folder : path
        Gets ``videos/*.mp4``, ``pairs.csv``, ``boxes.csv``, ``skill.csv`` and ``set.json``.
    videos, seed, options, effects
        As in :func:`plan_set`.
    overwrite : bool
        Replace a set of other options in the same folder.
    on_video : callable, optional
        Called after each video.

    Returns
    -------
    list of SyntheticVideo

    Raises
    ------
    InputError
        The folder holds a set with other options, or a video cannot be written.
    """
    folder = Path(folder)
    planned = plan_set(videos, seed, options, effects)
    prepare_folder(folder, planned, overwrite=overwrite)
    for video in planned:
        write_video(video, folder)
        if on_video is not None:
            on_video(video)
    write_tables(folder, planned)
    return planned


def write_video(video: SyntheticVideo, folder: Path) -> Path:
    """Draw and encode one video unless it is there already.

    Parameters
    ----------
    video : SyntheticVideo
        Which.
    folder : Path
        The set's folder, prepared by :func:`prepare_folder`.

    Returns
    -------
    Path
        Of the mp4 file.

    Raises
    ------
    InputError
        OpenCV has no MPEG-4 encoder, or the disk is full.
    """
    final = Path(folder) / VIDEO_FOLDER / video.name
    if final.exists():
        return final
    partial = final.with_name(f".{final.stem}{PARTIAL}.mp4")
    scene, size = video.scene(), video.options.picture_size
    code = cv2.VideoWriter.fourcc(*"mp4v")
    encoder = cv2.VideoWriter(str(partial), code, video.options.frame_rate, (size, size))
    if not encoder.isOpened():
        raise InputError(f"OpenCV cannot write MPEG-4 video to {final}; is the folder writable?")
    try:
        for frame in range(len(scene)):
            encoder.write(scene.draw(frame))
    finally:
        encoder.release()
    _check_written(partial, len(scene))
    publish(partial, final)
    return final


def write_tables(folder: Path, planned: Sequence[SyntheticVideo]) -> None:
    """Write `pairs.csv`, `boxes.csv` and `skill.csv`.

    Parameters
    ----------
    folder : Path
        The set's folder.
    planned : sequence of SyntheticVideo
        The set.
    """
    pairs = [
        (better.name, worse.name)
        for better in planned
        for worse in planned
        if better.skill - worse.skill >= max(better.options.skill_gap, 1e-9)
    ]
    boxes = (
        (video.name, frame, *(f"{edge:.5f}" for edge in scene.box(frame)))
        for video in planned
        for scene in (video.scene(),)
        for frame in range(len(scene))
    )
    skills = [
        (v.name, f"{v.skill:.6f}", v.frames, v.drops, f"{v.brightness:.3f}", f"{v.flow:.6f}")
        for v in planned
    ]
    folder = Path(folder)
    _write_table(folder / "pairs.csv", ("better", "worse"), pairs)
    _write_table(folder / "boxes.csv", ("video", "frame", "x0", "y0", "x1", "y1"), boxes)
    header = ("video", "skill", "frames", "drops", "brightness", "predicted_flow")
    _write_table(folder / "skill.csv", header, skills)


def _check_written(partial: Path, frames: int) -> None:
    """OpenCV reports neither a full disk nor a failed encoder, so read the file back."""
    reader = cv2.VideoCapture(str(partial))
    count = 0
    while reader.grab():
        count += 1
    reader.release()
    if count != frames:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"{partial.parent}: wrote {frames} frames but {count} can be read back; "
            "is the disk full?"
        )


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    partial = path.with_name(f".{path.name}{PARTIAL}")
    with open(partial, "w", newline="", encoding="utf-8") as stream_:
        table = csv.writer(stream_, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
    publish(partial, path)

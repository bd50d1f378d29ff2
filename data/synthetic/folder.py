"""The folder of a synthetic set: claiming it, telling sets apart, and whole files or none."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from data.errors import InputError
from data.synthetic.plan import SyntheticVideo

SCENE_VERSION = 2  # raise it when the same seed would draw other pixels or give other skills
VIDEO_FOLDER = "videos"
PARTIAL = ".partial"
TABLES = ("pairs.csv", "boxes.csv", "skill.csv")


def prepare_folder(
    folder: Path, planned: Sequence[SyntheticVideo], *, overwrite: bool = False
) -> list[SyntheticVideo]:
    """Claim the folder for this set and return the videos still to be written.

    Parameters
    ----------
    folder : Path
        Made where absent.
    planned : sequence of SyntheticVideo
        The set.
    overwrite : bool
        Remove another set's files first (only files that a set consists of).

    Returns
    -------
    list of SyntheticVideo

    Raises
    ------
    InputError
        The folder holds a set with other options, or videos of unknown origin.
    """
    wanted = _description(planned)
    note, clips = folder / "set.json", folder / VIDEO_FOLDER
    found = _read_description(note)
    if found is None and clips.is_dir() and any(clips.iterdir()) and not overwrite:
        raise InputError(
            f"{clips} holds files but {note.name} is missing, so they are not a synthetic set; "
            "choose another folder or pass --overwrite"
        )
    if found != wanted and (overwrite or found is None):
        _remove_set(folder)
    elif found is not None and found != wanted:
        raise InputError(
            f"{folder} holds a synthetic set made with {_differences(found, wanted)}; "
            "pass --overwrite or choose another folder"
        )
    clips.mkdir(parents=True, exist_ok=True)
    for partial in clips.glob(f".*{PARTIAL}.mp4"):
        partial.unlink()
    write_atomically(note, json.dumps(wanted, indent=2, sort_keys=True) + "\n")
    return [video for video in planned if not (clips / video.name).exists()]


def _description(planned: Sequence[SyntheticVideo]) -> dict[str, object]:
    first = planned[0]
    return {
        "scene_version": SCENE_VERSION,
        "videos": len(planned),
        "seed": first.seed,
        **asdict(first.options),
        **asdict(first.effects),
    }


def _read_description(note: Path) -> dict[str, object] | None:
    if not note.exists():
        return None
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{note} cannot be read as a synthetic set's note: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{note} is not a synthetic set's note: expected a JSON object")
    return found


def _differences(found: dict[str, object], wanted: dict[str, object]) -> str:
    keys = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
    return ", ".join(f"{k} {found.get(k)} (you asked {wanted.get(k)})" for k in keys)


def _remove_set(folder: Path) -> None:
    files = [folder / name for name in ("set.json", *TABLES)]
    files += (folder / VIDEO_FOLDER).glob("video_*.mp4")
    for path in files:
        path.unlink(missing_ok=True)


def publish(partial: Path, final: Path) -> None:
    """Give a finished file its name, once it is on the disk."""
    with open(partial, "rb+") as stream_:
        os.fsync(stream_.fileno())
    os.replace(partial, final)


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file, whole or not at all."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    partial.write_text(text, encoding="utf-8")
    publish(partial, path)

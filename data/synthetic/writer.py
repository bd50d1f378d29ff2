"""Writing a set: mp4 files, `pairs.csv`, `boxes.csv`, `skill.csv`, and its options, `set.json`.

A video appears under its name only when it is complete, and `set.json` only says what the
folder is for, so an interrupted set continues where it stopped. All randomness comes from the
seed: a set written twice holds the same frames.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from data.errors import InputError, system_reason
from data.files import sweep, whole_file
from data.synthetic.options import SkillEffects, SyntheticOptions
from data.synthetic.plan import SyntheticVideo, plan_set
from data.video.film import encode

_SCENE_VERSION = 2  # raise it when the same seed would draw other pixels or give other skills
# As good as what was drawn. Only x264's fastest presets, by one thread, make equal files again.
_QUALITY = {"crf": "18", "preset": "ultrafast", "threads": "1"}
_VIDEO_FOLDER = "videos"
_TABLES = ("pairs.csv", "boxes.csv", "skill.csv")


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
    """Write a whole set, or complete an unfinished one.

    Parameters
    ----------
    folder : path
        Receives ``videos/*.mp4``, ``pairs.csv``, ``boxes.csv``, ``skill.csv`` and ``set.json``.
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


def prepare_folder(
    folder: Path, planned: Sequence[SyntheticVideo], *, overwrite: bool = False
) -> list[SyntheticVideo]:
    """Claim a folder for this set and return the videos that are still missing.

    Parameters
    ----------
    folder : Path
        Created where absent.
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
    description = _description(planned)
    note, clips = folder / "set.json", folder / _VIDEO_FOLDER
    existing = _read_description(note)
    if existing is None and clips.is_dir() and any(clips.iterdir()) and not overwrite:
        raise InputError(
            f"{clips} holds files but {note.name} is missing, so they are not a synthetic set; "
            "choose another folder or pass --overwrite"
        )
    if existing != description and (overwrite or existing is None):
        _remove_set(folder)
    elif existing is not None and existing != description:
        raise InputError(
            f"{folder} holds a synthetic set made with {_differences(existing, description)}; "
            "pass --overwrite or choose another folder"
        )
    clips.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    with whole_file(note) as temporary:
        text = json.dumps(description, indent=2, sort_keys=True) + "\n"
        temporary.write_text(text, encoding="utf-8")
    return [video for video in planned if not (clips / video.name).exists()]


def _description(planned: Sequence[SyntheticVideo]) -> dict[str, object]:
    first = planned[0]
    return {
        "scene_version": _SCENE_VERSION,
        "videos": len(planned),
        "seed": first.seed,
        **asdict(first.options),
        **asdict(first.effects),
    }


def _read_description(note: Path) -> dict[str, object] | None:
    if not note.exists():
        return None
    try:
        description = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{note} cannot be read as a synthetic set's note: {error}") from error
    if not isinstance(description, dict):
        raise InputError(f"{note} is not a synthetic set's note: expected a JSON object")
    # Earlier versions lacked some options, and drew as their defaults do.
    return {**asdict(SyntheticOptions()), **asdict(SkillEffects()), **description}


def _differences(old: dict[str, object], new: dict[str, object]) -> str:
    keys = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    return ", ".join(f"{k} {old.get(k)} (you asked {new.get(k)})" for k in keys)


def _remove_set(folder: Path) -> None:
    files = [folder / name for name in ("set.json", *_TABLES)]
    files += (folder / _VIDEO_FOLDER).glob("video_*.mp4")
    for path in files:
        path.unlink(missing_ok=True)


def write_video(video: SyntheticVideo, folder: Path) -> Path:
    """Draw and encode one video unless it already exists.

    Parameters
    ----------
    video : SyntheticVideo
        The video.
    folder : Path
        The set's folder, prepared by :func:`prepare_folder`.

    Returns
    -------
    Path
        The mp4 file.

    Raises
    ------
    InputError
        The file cannot be written, or the disk is full.
    """
    final = Path(folder) / _VIDEO_FOLDER / video.name
    if final.exists():
        return final
    scene = video.scene()
    pictures = (scene.draw(frame) for frame in range(len(scene)))
    try:
        with whole_file(final, suffix=".mp4") as temporary:
            encode(temporary, pictures, video.options.frame_rate, _QUALITY)
    except OSError as error:
        raise InputError(f"{final}: cannot be written ({system_reason(error)})") from error
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


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with (
        whole_file(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as stream_,
    ):
        table = csv.writer(stream_, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)

"""What lies in folders: files of one kind, and folders of frames."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from data.files import is_system_name
from data.names import VIDEO_EXTENSIONS
from data.video.frame_names import is_flow, sort_pictures

# Below the command line's own logger, so that its settings hold.
log = logging.getLogger("pipeline.folders")


@dataclass(frozen=True)
class Kind:
    """What files are looked for in folders.

    Attributes
    ----------
    noun : str
        Their name in messages.
    extensions : collection of str
    frames : bool
        Whether folders of numbered images count as well.
    """

    noun: str
    extensions: Collection[str]
    frames: bool


VIDEOS = Kind("videos", VIDEO_EXTENSIONS, True)
ARRAYS = Kind("arrays", (".h5", ".hdf5", ".npy", ".npz"), False)


def folders_below(
    folder: Path, unreadable: list[Path] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield a folder and those below it, as `os.walk` does: links followed, hidden ones left out.

    Files and folders of the system, such as ``@eaDir`` and ``._v.mp4``, are left out as well.
    Removing names from the list of folders keeps the walk out of them. Folders that cannot be read
    are added to `unreadable`.
    """
    visited: set[str] = set()
    failed: list[Path] = [] if unreadable is None else unreadable
    walk = os.walk(
        folder, onerror=lambda error: failed.append(Path(error.filename)), followlinks=True
    )
    for parent, folders, files in walk:
        real = os.path.realpath(parent)
        if real in visited:  # a link back to a folder above
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not is_system_name(name)
        )
        yield Path(parent), folders, [name for name in files if not is_system_name(name)]


def videos_below(folder: Path, kind: Kind) -> Iterator[tuple[Path, Path]]:
    """Yield the videos below a folder, and folders that cannot be read, with what names them."""
    unreadable: list[Path] = []
    flow: list[Path] = []
    for here, _, files in folders_below(folder, unreadable):
        yield from ((here / name, here / name) for name in sorted(files) if _is_of_kind(name, kind))
        frames = frame_videos(here, files) if kind.frames else []
        if frames and _holds_flow(here, folder):
            flow.append(here)
        else:
            yield from frames
    yield from ((closed, closed) for closed in unreadable)
    if flow:
        more = f" and {len(flow) - 1} more" if len(flow) > 1 else ""
        log.info("%s%s: pictures of flow, not frames; left out", flow[0], more)


def _holds_flow(here: Path, root: Path) -> bool:
    """Whether a folder, or one above it up to a root, is named as flow next to frames is."""
    for part in (here, *here.parents):
        if part == root:
            return False
        pair = [name for name in ("u", "v") if (part.parent / name).is_dir()]
        if is_flow(part.name, pair):
            return True
    return False


def _is_of_kind(name: str, kind: Kind) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in kind.extensions


def frame_videos(folder: Path, names: list[str]) -> list[tuple[Path, Path]]:
    """Return the videos that the pictures in a folder are, and the paths that name them.

    Next to video files, pictures are no frames. Pictures left out are reported.
    """
    files = [name for name in names if (folder / name).is_file()]
    if any(_is_of_kind(name, VIDEOS) for name in files):
        return []
    pictures = sort_pictures(files)
    if pictures.flow:
        log.info("%s: %d pictures of flow, not frames; left out", folder, pictures.flow)
    if pictures.unnumbered > 1:
        log.warning(
            "%s: %d pictures without a numbering are left out; frames are named like img_00001.jpg",
            folder,
            pictures.unnumbered,
        )
    videos = []
    for name, numbered in pictures.series.items():
        first, named = folder / numbered[0][1], folder / name
        if not name:
            videos.append((folder, folder))
        else:  # Another video's name is never taken.
            videos.append((first, first if named.exists() else named))
    return videos

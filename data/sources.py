"""Which videos a command works on: folders, files, lists and tables of paths, and their names."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from data.video.frame_names import frame_series

# fmt: off
VIDEO_EXTENSIONS = frozenset({
    ".3gp", ".asf", ".avi", ".dv", ".flv", ".gif", ".h264", ".hevc", ".m2ts", ".m4v", ".mjpeg",
    ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob",
    ".webm", ".wmv",
})
# fmt: on
_EXAMPLES = 3


@dataclass(frozen=True)
class Source:
    """One video.

    Attributes
    ----------
    path
        The video file, or the folder of its frames.
    key
        POSIX path relative to its input, with extension ("surgery/E003.avi"); the name of the
        video's caches, unique within one run.
    """

    path: Path
    key: str


@dataclass(frozen=True)
class _Video:
    """A video and the folder that its key is relative to."""

    path: Path
    root: Path


def find_sources(inputs: Sequence[str | Path]) -> list[Source]:
    """Find the videos that the user's inputs name.

    Parameters
    ----------
    inputs
        Each a folder (searched recursively for files with a video's extension and for folders of
        numbered images), a video file of any extension, ``@list.txt`` (a path a line, # starts a
        comment) or a CSV with a column ``video`` or ``path``. Paths in lists and tables are
        relative to the file that holds them.

    Returns
    -------
    list[Source]
        Sorted by key; each video once. Keys are relative to the input folder (or to the list's
        folder), or to the common parent of all videos where keys would otherwise be the same.

    Raises
    ------
    InputError
        An input is missing, or no video is found.
    """
    if not inputs:
        raise InputError("no videos given; name a folder, files, @list.txt or a CSV")
    videos: dict[Path, _Video] = {}
    for text in inputs:
        for video in _expand(str(text)):
            videos.setdefault(video.path, video)
    if not videos:
        raise InputError(_nothing_found(inputs))
    items = list(videos.values())
    keys = [item.path.relative_to(item.root).as_posix() for item in items]
    if len(set(keys)) < len(keys):
        common = Path(os.path.commonpath([item.path.parent for item in items]))
        keys = [item.path.relative_to(common).as_posix() for item in items]
    sources = [Source(item.path, key) for item, key in zip(items, keys, strict=True)]
    return sorted(sources, key=lambda source: source.key)


def _expand(text: str) -> Iterator[_Video]:
    """Yield the videos that one input names."""
    if text.startswith("@") and not Path(text).exists():
        table = _absolute(text[1:])
        yield from _entries(table, _list_lines(table))
        return
    path = _absolute(text)
    if path.suffix.lower() == ".csv" and not path.is_dir():
        yield from _entries(path, _table_cells(path))
        return
    yield from _videos(path, root=None, named_by=None)


def _entries(table: Path, entries: Iterable[str]) -> Iterator[_Video]:
    """Yield the videos that the entries of a list or table name."""
    count = 0
    for entry in entries:
        count += 1
        path = _absolute(os.path.join(table.parent, os.path.expanduser(entry)))
        inside = path.is_relative_to(table.parent) and path != table.parent
        yield from _videos(path, root=table.parent if inside else None, named_by=table)
    if count == 0:
        raise InputError(f"{table}: expected a path to a video in each line, found none")


def _videos(path: Path, root: Path | None, named_by: Path | None) -> Iterator[_Video]:
    """Yield a file, a folder of frames, or all videos in a folder; keys relative to `root`."""
    if path.is_dir():
        if _is_frame_folder(path, os.listdir(path)):
            yield _Video(path, root or path.parent)
        else:
            for video in _walk(path):
                yield _Video(video, root or path)
    elif path.exists():
        yield _Video(path, root or path.parent)
    else:
        where = f" (named in {named_by})" if named_by else ""
        raise InputError(f"{path}: no such file or folder{where}")


def folders_below(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield a folder and those below it, as `os.walk` does: links followed, hidden ones left out.

    Removing names from the list of folders keeps the walk out of them.
    """
    visited: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link back to a folder above
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(parent), folders, files


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the videos below a folder, hidden files and folders left out."""
    for here, _, files in folders_below(folder):
        yield from (here / name for name in sorted(files) if _is_video_name(name))
        if _is_frame_folder(here, files):
            yield here


def _is_video_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS


def _is_frame_folder(folder: Path, names: list[str]) -> bool:
    """Whether numbered images in a folder are a video's frames; next to videos they are not."""
    files = [name for name in names if (folder / name).is_file()]
    return not any(_is_video_name(name) for name in files) and bool(frame_series(files))


def _list_lines(table: Path) -> Iterator[str]:
    for line in _text(table, "a list of paths").splitlines():
        entry = line.strip()
        if entry and not entry.startswith("#"):
            yield entry


def _table_cells(table: Path) -> Iterator[str]:
    """Yield the cells of a table's column ``video`` or ``path``."""
    rows = csv.reader(_text(table, "a CSV with a column 'video' or 'path'").splitlines())
    header = [name.strip().lower() for name in next(rows, [])]
    column = next((header.index(name) for name in ("video", "path") if name in header), None)
    if column is None:
        raise InputError(
            f"{table}: expected a header with a column 'video' or 'path', "
            f"found {', '.join(header) or 'an empty file'}"
        )
    for row in rows:
        cell = row[column].strip() if column < len(row) else ""
        if cell:
            yield cell


def _text(table: Path, what: str) -> str:
    try:
        return table.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{table}: no such file; expected {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{table}: cannot be read as {what}: {error}") from error


def _absolute(path: str) -> Path:
    """Absolute path without ``..``; links keep their names."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def _nothing_found(inputs: Sequence[str | Path]) -> str:
    shown = ", ".join(map(str, inputs[:_EXAMPLES]))
    more = f" and {len(inputs) - _EXAMPLES} more" if len(inputs) > _EXAMPLES else ""
    known = " ".join(sorted(extension[1:] for extension in VIDEO_EXTENSIONS))
    return (
        f"no videos found in {shown}{more}; looked for files ending in {known} and for folders of "
        "numbered images (img_00001.jpg); name files with other endings one by one"
    )

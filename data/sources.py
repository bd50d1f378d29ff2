"""Which videos a command works on: folders, files, lists and tables of paths, and their names."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from data.folders import VIDEOS, Kind, frame_videos, videos_below
from data.tables import read_rows, read_text
from data.written_paths import WrittenPaths


@dataclass(frozen=True)
class Source:
    """One video.

    A path that a list names and that does not exist, and a folder that cannot be read, are sources
    as well: opening them fails, and so they are listed among the failures of every command.

    Attributes
    ----------
    path
        The video file, or the folder of its frames; where a folder holds several series of frames,
        the first picture of one.
    key
        POSIX path relative to its input, with extension ("surgery/E003.avi"); the name of the
        video's caches, unique within one run. A series within a folder adds its own name to that
        of the folder ("surgery/take1/left").
    """

    path: Path
    key: str


@dataclass(frozen=True)
class _Video:
    """A video, the path that its key comes from, and the folder that the key is relative to."""

    path: Path
    named: Path
    root: Path


def find_sources(
    inputs: Sequence[str | Path], exclude: Sequence[str] = (), kind: Kind = VIDEOS
) -> list[Source]:
    """Find the videos, or other files of one a video, that the user's inputs name.

    Parameters
    ----------
    inputs
        Each a folder (searched recursively for files with a video's extension and for folders of
        numbered images), a video file of any extension, ``@list.txt`` (a path a line; labels may
        follow it; a line with # is a comment unless it names a file) or a CSV with a column
        ``video`` or ``path``. Paths in lists and tables are relative to the file that holds them.
    exclude
        Patterns (``*``, ``?``, ``[…]``) of keys, or of file and folder names in them, to leave out.
    kind
        What is looked for in folders.

    Returns
    -------
    list[Source]
        Sorted by key; each video once. Keys are relative to the input folder (or to the list's
        folder), or to the common parent of all videos where keys would otherwise be the same.

    Raises
    ------
    InputError
        An input is missing or holds no video, or no entry of a list or table exists.
    """
    if not inputs:
        raise InputError(f"no {kind.noun} given; name a folder, files, @list.txt or a CSV")
    videos: dict[Path, _Video] = {}
    for text in inputs:
        found = list(_expand(str(text), kind))
        if not found:
            raise InputError(_nothing_found(text, kind))
        for video in found:
            videos.setdefault(video.path, video)
    items = [video for video in videos.values() if not _is_excluded(video, exclude)]
    if not items:
        raise InputError(f"all of {len(videos)} {kind.noun} are left out by --exclude")
    keys = [item.named.relative_to(item.root).as_posix() for item in items]
    if len(set(keys)) < len(keys):
        common = Path(os.path.commonpath([item.named.parent for item in items]))
        keys = [item.named.relative_to(common).as_posix() for item in items]
    sources = [Source(item.path, key) for item, key in zip(items, keys, strict=True)]
    return sorted(sources, key=lambda source: source.key)


def _expand(text: str, kind: Kind) -> Iterator[_Video]:
    """Yield the videos that one input names."""
    if text.startswith("@") and not Path(text).exists():
        table = _absolute(text[1:])
        lines = read_text(table, "a list of paths").splitlines()
        yield from _entries(table, filter(None, map(str.strip, lines)), kind, comments=True)
        return
    path = _absolute(text)
    if path.suffix.lower() == ".csv" and not path.is_dir():
        yield from _entries(path, _table_cells(path), kind)
        return
    yield from _videos(path, kind, root=None)


def _entries(
    table: Path, entries: Iterable[str], kind: Kind, *, comments: bool = False
) -> Iterator[_Video]:
    """Yield the videos that the entries of a list or table name, missing ones included.

    Raises
    ------
    InputError
        There are no entries, none exists, or one fits several files.
    """
    places = WrittenPaths(table.parent)
    missing: list[Path] = []
    videos: list[_Video] = []
    for entry in entries:
        is_comment = comments and entry.startswith("#")
        try:
            path = places.exact(entry) or (None if is_comment else places.similar(entry))
        except InputError as error:
            raise InputError(f"{table}: {error}") from error
        if path is None and is_comment:
            continue
        if path is None:
            missing.append(places.named(entry))
        root = table.parent if (path or missing[-1]).is_relative_to(table.parent) else None
        if path is None:
            videos.append(_Video(missing[-1], missing[-1], root or missing[-1].parent))
        else:
            videos += _videos(path, kind, root if path != table.parent else None)
    if not videos:
        raise InputError(f"{table}: expected a path to a video in each line, found none")
    if len(missing) == len(videos):
        others = f", like all {len(missing)} there" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}: no such file or folder (named in {table}{others})")
    yield from videos


def _videos(path: Path, kind: Kind, root: Path | None) -> Iterator[_Video]:
    """Yield a file, a folder of frames, or all videos in a folder; keys relative to `root`."""
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        yield _Video(path, path, root or path.parent)
        return
    try:
        names = os.listdir(path)
        frames = frame_videos(path, names) if kind.frames else []
    except OSError:
        frames = [(path, path)]  # It cannot be read, which fails when it is opened.
    for video, named in frames:
        yield _Video(video, named, root or path.parent)
    if not frames:
        for video, named in videos_below(path, kind):
            yield _Video(video, named, root or path)


def _is_excluded(video: _Video, patterns: Sequence[str]) -> bool:
    key = video.named.relative_to(video.root)
    return any(
        fnmatch.fnmatch(text, pattern)
        for pattern in patterns
        for text in (key.as_posix(), *key.parts)
    )


def _table_cells(table: Path) -> Iterator[str]:
    """Yield the cells of a table's column ``video`` or ``path``."""
    rows = read_rows(table, "a CSV with a column 'video' or 'path'")
    header = [name.lower() for name in rows[0].cells] if rows else []
    column = next((header.index(name) for name in ("video", "path") if name in header), None)
    if column is None:
        raise InputError(
            f"{table}: expected a header with a column 'video' or 'path', "
            f"found {', '.join(header) or 'an empty file'}"
        )
    for row in rows[1:]:
        if column < len(row.cells) and row.cells[column]:
            yield row.cells[column]


def _absolute(path: str) -> Path:
    """Absolute path without ``..``; links keep their names."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def _nothing_found(text: str | Path, kind: Kind) -> str:
    known = " ".join(sorted(extension[1:] for extension in kind.extensions))
    frames = (
        " and for folders of numbered images (img_00001.jpg); name files with other endings one by "
        "one"
    )
    return (
        f"no {kind.noun} found in {text}; looked for files ending in {known}" + frames * kind.frames
    )

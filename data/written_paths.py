"""Paths as lists and tables of videos spell them: with labels, other separators, other machines."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from data.names import VIDEO_EXTENSIONS, match_names, path_parts, without_extension
from data.tables import one_form

# Numbers and labels after a path, as data sets list them: "path label", "path frames label".
_MOST_LABELS = 2
_NUMBERS = re.compile(r"(\s+[-+]?\d+)+$")
_FORMS: tuple[Callable[[str], str], ...] = (
    one_form,
    lambda name: one_form(name).casefold(),
)


class WrittenPaths:
    """Existing files that entries of one list or table name, relative to its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, list[str]] = {}
        self._videos: dict[Path, Mapping[str, list[str]]] = {}

    def exact(self, entry: str) -> Path | None:
        """Return the file or folder of exactly this path, labels after it left out."""
        return next((p for p in map(self._path, _without_labels(entry)) if p.exists()), None)

    def similar(self, entry: str) -> Path | None:
        """Return the one file or folder whose path differs in spelling, or None.

        The rule is that of `data.names`: Unicode form, letter case, separators and the extension
        may differ, and the longest end of the path that exists in the folder of the list is taken.

        Raises
        ------
        InputError
            Several files fit equally well; names them.
        """
        for text in _without_labels(entry):
            parts = path_parts(text)
            for start in range(len(parts)):
                if path := self._spelled(parts[start:]):
                    return path
        return None

    def named(self, entry: str) -> Path:
        """Return the path that a missing entry most likely means: without numbers after it."""
        return self._path(_NUMBERS.sub("", entry))

    def _path(self, text: str) -> Path:
        return Path(os.path.abspath(os.path.join(self._folder, os.path.expanduser(text))))

    def _spelled(self, parts: Sequence[str]) -> Path | None:
        """Follow the parts of a path from the list's folder, each in any spelling."""
        here: Path | None = self._folder
        for number, part in enumerate(parts, 1):
            if here is None:
                return None
            here = here.parent if part == ".." else self._child(here, part, number == len(parts))
        return here

    def _child(self, folder: Path, part: str, last: bool) -> Path | None:
        for form in _FORMS:
            same = [name for name in self._in(folder) if form(name) == form(part)]
            if len(same) == 1:
                return folder / same[0]
        near = self._near(folder).get(_stem(part), []) if last else []
        key = match_names([part], near).keys.get(part)
        return None if key is None else folder / key

    def _near(self, folder: Path) -> Mapping[str, list[str]]:
        """Return the videos and folders in a folder by their names without extension."""
        if folder not in self._videos:
            videos: dict[str, list[str]] = defaultdict(list)
            for name in self._in(folder):
                ending = os.path.splitext(name)[1].lower()
                if ending in VIDEO_EXTENSIONS or (folder / name).is_dir():
                    videos[_stem(name)].append(name)
            self._videos[folder] = videos
        return self._videos[folder]

    def _in(self, folder: Path) -> list[str]:
        if folder not in self._names:
            try:
                self._names[folder] = os.listdir(folder)
            except OSError:
                self._names[folder] = []
        return self._names[folder]


def _stem(name: str) -> str:
    return without_extension(one_form(name).casefold())


def _without_labels(entry: str) -> Iterator[str]:
    """Yield an entry, and what is left of it without its last words."""
    yield entry
    for count in range(1, _MOST_LABELS + 1):
        words = entry.rsplit(None, count)
        if len(words) == count + 1:
            yield words[0]

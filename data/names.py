"""Which video a name in a table stands for: the one rule of judgements, scores, boxes and lists.

A name and a key (a path relative to the folder of videos) belong together when the one is the end
of the other, part by part: ``/data/anna/videos/v01.mp4``, ``videos/v01`` and ``v01`` all stand for
``videos/v01.mp4``. The key with the longest common end wins. Letter case, the Unicode form and the
separators of Windows do not matter; the extension decides only where several fit.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from data.errors import InputError
from data.tables import one_form

# fmt: off
VIDEO_EXTENSIONS = frozenset({
    ".3gp", ".asf", ".avi", ".dv", ".flv", ".gif", ".h264", ".hevc", ".m2ts", ".m4v", ".mjpeg",
    ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob",
    ".webm", ".wmv",
})
# fmt: on
_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")
_EXAMPLES = 3


@dataclass(frozen=True)
class Matching:
    """Which keys some names stand for.

    Attributes
    ----------
    keys : dict of str to str
        Key of each name that has one.
    unknown : tuple of str
        Names without a key.
    by_end : tuple of str
        Names in `keys` whose folders differ from the key's, so that their last parts alone agree.
    candidates : dict of str to tuple of str
        For unknown names, the several keys whose last parts agree.
    """

    keys: dict[str, str]
    unknown: tuple[str, ...]
    by_end: tuple[str, ...] = ()
    candidates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def complaint(self, where: str) -> str:
        """Return one line that counts the unknown names, with examples."""
        total = len(self.keys) + len(self.unknown)
        shown = ", ".join(self.unknown[:_EXAMPLES])
        return f"{len(self.unknown)} of {total} annotated videos are not in {where}, e.g. {shown}"

    def notes(self) -> list[str]:
        """Return lines on names that match by their last parts alone, or fit several keys so."""
        notes = []
        if self.by_end:
            shown = ", ".join(f"{name} is {self.keys[name]}" for name in self.by_end[:_EXAMPLES])
            notes.append(
                f"{len(self.by_end)} names are in other folders than their videos and were "
                f"matched by the end of their paths, e.g. {shown}"
            )
        if self.candidates:
            name, keys = next(iter(self.candidates.items()))
            notes.append(
                f"{len(self.candidates)} names fit no video wholly and the ends of several, e.g. "
                f"{name}: {', '.join(keys[:_EXAMPLES])}"
            )
        return notes


@dataclass(frozen=True, order=True)
class _Fit:
    """How well a key fits a name: the greater, the better."""

    equal: bool
    length: int
    whole: bool  # the one is the end of the other
    extension: bool  # equal, or the name has none
    inside: bool = field(compare=False)  # the name is the end of the key

    @property
    def strict(self) -> bool:
        """Whether the key ends in the whole name."""
        return self.inside and self.extension


def match_names(
    names: Iterable[str],
    keys: Collection[str],
    spellings: Mapping[str, Sequence[str]] | None = None,
) -> Matching:
    """Find the key of every name.

    Parameters
    ----------
    names : iterable of str
    keys : collection of str
        POSIX paths.
    spellings : mapping of str to sequence of str, optional
        For names of published sets what their files are called, the best first. Their folders
        are part of the name (a task): a key must end in the whole spelling.

    Raises
    ------
    InputError
        A name fits several keys equally well, or several names fit one key so.
    """
    index = _by_last_part(keys)
    fits: dict[str, tuple[_Fit, str]] = {}
    candidates: dict[str, tuple[str, ...]] = {}
    unknown = []
    for name in names:
        forms = (spellings or {}).get(name, (name,))
        published = tuple(forms) != (name,)
        best = _best(name, forms, index, published)
        if best and (best[0].whole or len(best[1]) == 1):
            fits[name] = best[0], _only(name, best[1])
            continue
        if best:
            candidates[name] = tuple(best[1])
        unknown.append(name)
    losers = _losers(fits)
    return Matching(
        {name: key for name, (_, key) in fits.items() if name not in losers},
        (*unknown, *losers),
        tuple(name for name, (fit, _) in fits.items() if name not in losers and not fit.whole),
        candidates,
    )


def path_parts(name: str) -> tuple[str, ...]:
    r"""Return the parts of a path: ``D:\videos\v01.mp4`` gives videos and v01.mp4."""
    plain = _DRIVE.sub("", one_form(name), count=1).replace("\\", "/")
    return tuple(part for part in plain.split("/") if part not in ("", "."))


def without_extension(part: str) -> str:
    """Return a file name without the extension of a video; another dot is part of the name."""
    stem, dot, extension = part.rpartition(".")
    return stem if stem and (dot + extension).lower() in VIDEO_EXTENSIONS else part


def _folded(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part.casefold() for part in parts)


def _by_last_part(keys: Iterable[str]) -> Mapping[str, list[str]]:
    """Map the last part of every key, with and without extension, to its keys, sorted."""
    index: dict[str, list[str]] = defaultdict(list)
    for key in sorted(keys):
        last = path_parts(key)[-1]
        forms = {last, without_extension(last), PurePosixPath(last).with_suffix("").name}
        for form in forms:
            index[form.casefold()].append(key)
    return index


def _best(
    name: str, forms: Sequence[str], index: Mapping[str, list[str]], published: bool
) -> tuple[_Fit, list[str]] | None:
    """Return the best fit of a name and the keys that have it, or None."""
    for form in forms:
        parts = path_parts(form)
        if not parts:
            continue
        last = parts[-1].casefold()
        stem = without_extension(last)
        same = [
            key
            for key in index.get(stem, ())
            if without_extension(path_parts(key)[-1].casefold()) == stem
        ]
        near = {*index.get(last, ()), *same}
        fits: dict[_Fit, list[str]] = defaultdict(list)
        for key in sorted(near):
            fit = _fit(form, parts, key)
            if fit.inside or not published:
                fits[fit].append(key)
        if fits:
            best = max(fits)
            return best, fits[best]
    return None


def _fit(name: str, parts: Sequence[str], key: str) -> _Fit:
    """Compare a name with a key whose last part is its own, but for the extension."""
    key_parts = path_parts(key)
    one, other = _folded(parts), _folded(key_parts)
    length = 1
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    given = parts[-1] != without_extension(parts[-1])
    return _Fit(
        equal=name == key,
        length=length,
        whole=length == min(len(one), len(other)),
        extension=one[-1] == other[-1] or not given,
        inside=length == len(one),
    )


def _only(name: str, keys: Sequence[str]) -> str:
    if len(keys) > 1:
        raise InputError(
            f"'{name}' may be any of {len(keys)} videos, e.g. {', '.join(keys[:_EXAMPLES])}: give "
            "a folder with one of them, or name the folder in the annotation"
        )
    return keys[0]


def _losers(fits: Mapping[str, tuple[_Fit, str]]) -> list[str]:
    """Return names whose key belongs to a name that fits better; refuse several that fit equally.

    Of names that fit equally by their last parts alone, none has the key.
    """
    names_of: dict[str, list[str]] = defaultdict(list)
    for name, (_, key) in fits.items():
        names_of[key].append(name)
    losers: list[str] = []
    for key, names in names_of.items():
        names.sort(key=lambda name: fits[name][0], reverse=True)
        strict = [name for name in names if fits[name][0].strict]
        best = fits[names[0]][0]
        first = strict or [name for name in names if fits[name][0] == best]
        if len(first) > 1 and (strict or best.whole):
            raise InputError(
                f"'{first[0]}' and '{first[1]}' of the annotation are both video '{key}': their "
                "files must be distinct"
            )
        winner = first[0] if len(first) == 1 else None
        losers += [name for name in names if name != winner]
    return losers

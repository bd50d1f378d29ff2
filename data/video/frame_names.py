"""File names of numbered frames, such as img_00001.jpg: which pictures make which video."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data.errors import VideoError, system_reason

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

# img_00001.jpg, frame (1).jpg, 00001_left.png: the last number counts.
_NUMBERED = re.compile(r"(?P<before>.*?)(?P<number>\d+)(?P<after>\D*)(\.[^.]+)", re.DOTALL)
# Where one folder holds several series, the one with such a name is the folder's own.
_PICTURE_PREFIXES = ("", "img", "image", "frame")
_FLOW = re.compile(r"(.*[^a-z])?flow[_ -]?[xy]", re.DOTALL | re.IGNORECASE)
_AROUND = " _-.()[]"


class _Kind(NamedTuple):
    """What the names of a series have in common, without the number."""

    before: str
    after: str
    extension: str

    @property
    def word(self) -> str:
        return (self.before.rstrip(_AROUND) + self.after.rstrip(_AROUND)).strip(_AROUND)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures of one folder, sorted into videos."""

    # Name within the folder, "" for its own video, to (number, file name) in order of the number.
    series: dict[str, list[tuple[int, str]]]
    flow: int  # How many are flow (flow_x, flow_y; u beside v), not frames.
    unnumbered: int  # How many belong to no series.


def sort_pictures(names: Iterable[str]) -> Pictures:
    """Sort the pictures among file names into series; hidden files are left out.

    The folder's own series is the only one, or else the one that ends in its number, or else the
    one of these that is called img, image, frame or just by its number.
    """
    kinds: dict[_Kind, list[tuple[int, str]]] = defaultdict(list)
    pictures = [name for name in names if _is_picture(name)]
    for name in pictures:
        if match := _NUMBERED.fullmatch(name):
            kind = _Kind(match["before"], match["after"], match[4].lower())
            kinds[kind].append((int(match["number"]), name))
    kinds = {kind: sorted(files) for kind, files in kinds.items() if len(files) > 1}
    words = [kind.word for kind in kinds]
    flow = [kind for kind in kinds if is_flow(kind.word, words)]
    numbered, skipped = (sum(len(kinds[kind]) for kind in some) for some in (kinds, flow))
    left = [kind for kind in kinds if kind not in flow]
    plain = [kind for kind in left if not kind.after]
    called = [kind for kind in plain if kind.before.lower().rstrip("_- .") in _PICTURE_PREFIXES]
    own = next((some[0] for some in (left, plain, called) if len(some) == 1), None)
    times = Counter(kind.word for kind in left)
    series = {}
    for kind in left:
        clear = kind.word and times[kind.word] == 1
        name = kind.word if clear else f"{kind.before}#{kind.after}{kind.extension}"
        series["" if kind == own else name] = kinds[kind]
    return Pictures(series=series, flow=skipped, unnumbered=len(pictures) - numbered)


def is_flow(word: str, siblings: Collection[str]) -> bool:
    """Whether pictures of this name are flow: flow_x, flow_y, and u where there is v."""
    pair = {"u", "v"}
    among = {sibling.lower() for sibling in siblings}
    return bool(_FLOW.fullmatch(word)) or (word.lower() in pair and pair <= among)


def is_frames(path: Path) -> bool:
    """Whether a path is a folder, or a picture of a series, which stands for the whole series."""
    if path.is_dir() or not (_is_picture(path.name) and path.is_file()):
        return path.is_dir()
    try:
        return bool(frame_files(path))
    except VideoError:
        return False


def frame_files(path: Path) -> list[tuple[int, Path]]:
    """List the frames of a video as (number, path), in order of their numbers (2 before 10).

    Parameters
    ----------
    path
        A folder with its own series, or one picture of a series.

    Raises
    ------
    VideoError
        There are none, or several series and none of them is clearly the folder's own.
    """
    folder = path if path.is_dir() else path.parent
    try:
        pictures = sort_pictures(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise VideoError(f"{folder}: the folder cannot be read: {system_reason(error)}") from error
    for name, files in pictures.series.items():
        if not name if path is folder else any(file == path.name for _, file in files):
            return [(number, folder / file) for number, file in files]
    if not pictures.series:
        others = f"{pictures.unnumbered} pictures without" if pictures.unnumbered else "none"
        raise VideoError(
            f"{path}: expected numbered images such as img_00001.jpg, img_00002.jpg; found {others}"
        )
    shown = ", ".join(_shown(files) for files in pictures.series.values())
    raise VideoError(
        f"{path}: expected one series of numbered images, found {shown}; name one by its first "
        "picture"
    )


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_EXTENSIONS


def _shown(files: list[tuple[int, str]]) -> str:
    """Pattern and count of a series: l_*.png (2)."""
    match = _NUMBERED.fullmatch(files[0][1])
    return f"{match['before']}*{match['after']}{match[4]} ({len(files)})" if match else ""

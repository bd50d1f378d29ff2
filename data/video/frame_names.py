"""File names of folders of numbered frames, such as img_00001.jpg and img_00002.jpg."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from data.errors import VideoError, system_reason

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>\d+)(?P<extension>\.[^.]+)", re.DOTALL)
# Where one folder holds several series (img_, flow_x_, flow_y_), these are the pictures.
_PICTURE_PREFIXES = ("", "img", "image", "frame")

Series = dict[tuple[str, str], list[tuple[int, str]]]


def frame_series(names: Iterable[str]) -> Series:
    """Group the names of numbered images by (prefix, extension).

    Returns
    -------
    Series
        (prefix, lower-case extension) to its (number, name), in order of the number. Hidden files
        and series of a single image (a cover, a plot) are left out.
    """
    series: Series = defaultdict(list)
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is None or name.startswith("."):
            continue
        extension = match["extension"].lower()
        if extension in IMAGE_EXTENSIONS:
            series[match["prefix"], extension].append((int(match["number"]), name))
    return {key: sorted(files) for key, files in series.items() if len(files) > 1}


def frame_files(folder: Path) -> list[tuple[int, Path]]:
    """List the frames in a folder as (number, path), in order of their numbers (2 before 10).

    Raises
    ------
    VideoError
        There are none, or several series and none of them is clearly the pictures.
    """
    try:
        series = frame_series(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise VideoError(f"{folder}: the folder cannot be read: {system_reason(error)}") from error
    if not series:
        raise VideoError(
            f"{folder}: expected numbered images such as img_00001.jpg, img_00002.jpg; found none"
        )
    if len(series) > 1:
        pictures = {
            key: files
            for key, files in series.items()
            if key[0].lower().rstrip("_- .") in _PICTURE_PREFIXES
        }
        if len(pictures) != 1:
            names = ", ".join(f"{prefix}*{ext} ({len(f)})" for (prefix, ext), f in series.items())
            raise VideoError(
                f"{folder}: expected one series of numbered images, found {names}; "
                "keep one, or name it img_*"
            )
        series = pictures
    (files,) = series.values()
    return [(number, folder / name) for number, name in files]

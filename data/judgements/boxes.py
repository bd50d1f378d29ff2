"""Boxes of the tool in frames: a CSV ``video,frame,x0,y0,x1,y1``, sides as shares of the frame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from data.errors import InputError
from data.judgements.dataset import Dataset
from data.tables import one_form, read_rows

#: Left, top, right and bottom, as shares of the frame.
Box = tuple[float, float, float, float]
COLUMNS = ("video", "frame", "x0", "y0", "x1", "y1")


def read_boxes(path: Path, keys: Iterable[str]) -> dict[str, dict[int, Box]]:
    """Read the boxes of the videos with these cache keys, by key and frame number.

    Names match keys as those of judgements do. Boxes of other videos and empty boxes are left out.

    Raises
    ------
    InputError
        Other columns, or a row that is not a video, a frame number and four numbers.
    """
    rows = read_rows(path)
    if not rows or rows[0].cells != COLUMNS:
        raise InputError(f"{path}: expected the columns '{','.join(COLUMNS)}'")
    boxes: dict[str, dict[int, Box]] = {}
    for row in rows[1:]:
        try:
            video, frame, *sides = row.cells
            left, top, right, bottom = (
                min(max(row.number(column), 0.0), 1.0) for column in range(2, 2 + len(sides))
            )
            video, number = one_form(video), int(frame)
        except ValueError as error:
            raise InputError(
                f"{path}, line {row.line}: expected a video, a frame number and four "
                f"numbers, found '{','.join(row.cells)}'"
            ) from error
        if left < right and top < bottom:
            boxes.setdefault(video, {})[number] = (left, top, right, bottom)
    try:
        known = Dataset(path.stem, [], [], scores=dict.fromkeys(boxes, 0.0)).match(keys).keys
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not known:
        raise InputError(f"{path}: none of its {len(boxes)} videos is judged")
    return {known[name]: frames for name, frames in boxes.items() if name in known}

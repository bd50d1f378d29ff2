"""What a file's first bytes and boxes show: why OpenCV finds no video in it, and its container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# ISO base media files (mp4, mov, m4v, 3gp) are a row of boxes: length, four-letter type, content.
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"}
_CONTAINERS = {b"moov", b"trak", b"mdia"}
_HANDLER_TYPE_AT = 8  # after the box's version, flags and a reserved word
_SAMPLE = 512


def why_not_opened(path: Path) -> str:
    """Return one line: why OpenCV finds no video in a file, and what to do."""
    with path.open("rb") as file:
        start = file.read(_SAMPLE)
        if start[4:8] in _FIRST_BOXES:
            return _why_not_mp4(file)
    if _is_text(start):
        return "a text file, not a video (a list of videos is given as @list.txt, or as a CSV)"
    return (
        "OpenCV finds no video in it: not a video file, sound only, or too damaged; "
        "if a player shows it, convert it: ffmpeg -i IN -c:v libx264 OUT.mp4"
    )


def counts_frames(path: Path) -> bool:
    """Whether the header counts frames (mp4, mov, avi) rather than states a duration and a rate."""
    with path.open("rb") as file:
        start = file.read(8)
    return start[4:8] in _FIRST_BOXES or start[:4] == b"RIFF"


def _why_not_mp4(file: BinaryIO) -> str:
    handlers = []
    types = []
    for kind, content in _boxes(file):
        types.append(kind)
        if kind == b"hdlr":
            handlers.append(content[_HANDLER_TYPE_AT : _HANDLER_TYPE_AT + 4])
    if b"moov" not in types:
        return (
            "an mp4/mov file without its index (moov box): the recording or copy was cut off; "
            "copy it again, or rebuild the index with a repair tool"
        )
    if b"vide" not in handlers:
        return "holds no video stream, only sound or data"
    return (
        "an mp4/mov file with a video stream that OpenCV cannot open (unknown codec or damaged "
        "index); convert it, for example: ffmpeg -i IN -c:v libx264 OUT.mp4"
    )


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, content) of each box down to the tracks; content is empty except for hdlr."""
    file.seek(0, 2)
    end = file.tell()
    position = 0
    while position + 8 <= end:
        file.seek(position)
        header = file.read(16)
        length, kind, begin = int.from_bytes(header[:4], "big"), header[4:8], position + 8
        if length == 1:  # a 64-bit length follows
            length, begin = int.from_bytes(header[8:16], "big"), position + 16
        file.seek(begin)
        yield kind, file.read(_HANDLER_TYPE_AT + 4) if kind == b"hdlr" else b""
        if kind in _CONTAINERS:
            position = begin
        elif length >= 8:
            position += length
        else:  # 0: to the end of the file; anything else is damage
            return


def _is_text(start: bytes) -> bool:
    """Whether the bytes are text, possibly with the last character cut in two."""
    text = start.decode("utf-8", errors="ignore")
    lost = len(start) - len(text.encode("utf-8"))
    return lost <= 3 and all(letter.isprintable() or letter in "\t\r\n\f" for letter in text)

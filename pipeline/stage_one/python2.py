"""Checkpoints as Python 2 wrote them, put into the forms that PyTorch's safe reader understands.

Python 2 wrote large integers as text and strings as bytes, for instance the addresses that an
optimiser's state is listed by. Only these forms are rewritten; nothing is executed or built.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

#: How every file of the format before PyTorch 1.6 begins: its magic number, pickled.
_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
#: Pickles before the tensors' values: magic number, version, sizes, content, names of storages.
_PICKLES = 5


def rewritten(path: Path) -> io.BytesIO | None:
    """Return an old checkpoint in modern forms; None for a file of any other kind.

    Raises
    ------
    ValueError
        The file is damaged.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return None
        file.seek(0)
        content = io.BytesIO()
        for _ in range(_PICKLES):
            content.write(_modern(file))
        shutil.copyfileobj(file, content)
    content.seek(0)
    return content


def _modern(file: BinaryIO) -> bytes:
    """Return the pickle that starts here in modern forms; the file is then at its end."""
    start = file.tell()
    operations = [(op.name, value, position) for op, value, position in pickletools.genops(file)]
    end = file.tell()
    file.seek(start)
    raw = file.read(end - start)
    ends = [position for _, _, position in operations[1:]] + [end]
    pieces = []
    for (name, value, position), stop in zip(operations, ends, strict=True):
        write = _FORMS.get(name)
        pieces.append(write(value) if write else raw[position - start : stop - start])  # type: ignore[operator]
    return b"".join(pieces)


def _integer(value: int) -> bytes:
    if isinstance(value, bool):
        return pickle.NEWTRUE if value else pickle.NEWFALSE
    encoded = pickle.encode_long(value)
    if len(encoded) > 255:
        raise ValueError("an integer of more than 255 bytes")
    return pickle.LONG1 + bytes([len(encoded)]) + encoded


def _text(value: str) -> bytes:
    encoded = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


_FORMS: dict[str, Callable[[Any], bytes]] = {
    "INT": _integer,
    "LONG": _integer,
    "FLOAT": lambda value: pickle.BINFLOAT + struct.pack(">d", value),
    "STRING": _text,
    "BINSTRING": _text,
    "SHORT_BINSTRING": _text,
    "PUT": lambda value: pickle.LONG_BINPUT + struct.pack("<I", value),
    "GET": lambda value: pickle.LONG_BINGET + struct.pack("<I", value),
}

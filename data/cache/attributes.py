"""Attributes of a cache, read only where their type is one that caches have.

HDF5 does not check what it reads. A value of a type that bit rot has changed can end the process
with a segmentation fault, and a text in a heap of impossible sizes can keep it in a loop that
answers no signal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

# Attributes are written first and last, so their texts lie near an end of the file.
_SEARCHED = 1 << 16
# A collection of texts begins with its signature, its version and three zeros.
_COLLECTION = b"GCOL\x01\0\0\0"
_LEAST_COLLECTION = 4096
_HEADER = 16  # Bytes, of a collection and of each text in it.

_CLASSES = {h5py.h5t.STRING, h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM}


def read_attribute(holder: h5py.File | h5py.Dataset, name: str) -> Any:
    """Return one attribute.

    Raises
    ------
    KeyError
        There is none of this name.
    ValueError
        It is no single number or text.
    """
    attribute = h5py.h5a.open(holder.id, name.encode())
    kind, space = attribute.get_type(), attribute.get_space()
    if kind.get_class() not in _CLASSES or space.get_simple_extent_type() != h5py.h5s.SCALAR:
        raise ValueError(f"{name} is no single number or text")
    return holder.attrs[name]


def read_attributes(holder: h5py.File | h5py.Dataset) -> dict[str, Any]:
    """Return all attributes; ValueError as for `read_attribute`."""
    return {name: read_attribute(holder, name) for name in holder.attrs}


def check_heaps(path: Path) -> None:
    """Refuse a file whose texts HDF5 would never finish reading.

    The global heap holds collections of objects, each behind its size (HDF5 File Format
    Specification, III.E). HDF5 follows the sizes without checking that they lead on.

    Raises
    ------
    ValueError
        Sizes that do not fit their collection, or a collection that does not fit the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for begin in {0, max(0, size - _SEARCHED)}:
            file.seek(begin)
            part = file.read(_SEARCHED)
            place = part.find(_COLLECTION)
            while place >= 0:
                file.seek(begin + place + 8)
                length = int.from_bytes(file.read(8), "little")
                if length < _LEAST_COLLECTION or begin + place + length > size:
                    raise ValueError("a collection of texts is damaged")
                _check_collection(file.read(length - _HEADER))
                place = part.find(_COLLECTION, place + 1)


def _check_collection(objects: bytes) -> None:
    place = 0
    while len(objects) - place >= _HEADER:
        index = int.from_bytes(objects[place : place + 2], "little")
        length = int.from_bytes(objects[place + 8 : place + _HEADER], "little")
        # Free space has index 0, and its length includes the header.
        taken = _HEADER + (length + 7) // 8 * 8 if index else length
        if taken < _HEADER or place + taken > len(objects):
            raise ValueError("a text has an impossible length")
        place += taken

"""Attributes of a cache, read only where their type is one that caches have.

HDF5 does not check the types in a file: reading a value of a type that bit rot has changed can end
the process with a segmentation fault.
"""

from __future__ import annotations

from typing import Any

import h5py

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

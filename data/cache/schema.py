"""What a cache must hold before it is used: the one check of its arrays, made when it is opened.

Checked are datasets that are missing, elsewhere (links, virtual and external datasets), of another
type or rank, with unequal rows or more values than the file can hold, and indices and times that
cannot be. Values of maps and fields are checked as they are read.
"""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from data.cache.attributes import read_attribute
from data.cache.header import Header

#: What reading HDF5 raises where bytes of a file were changed.
DAMAGE = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError),
)
#: Most values' bytes a byte of the file: above what gzip can reach, 1032.
_DENSEST = 4096


@dataclass(frozen=True)
class _Array:
    """What a dataset must be; `rows` names the datasets that have as many rows."""

    types: tuple[str, ...]
    rank: int
    rows: str = "snippets"


_INDEX, _TIME = _Array(("int64",), 1), _Array(("float64",), 1)
_MAPS = _Array(("float16",), 4)
_LAYOUTS = {
    "flow": {
        "flow": _Array(("uint8", "float16"), 4),
        "frame_index": _INDEX,
        "next_index": _INDEX,
        "time": _TIME,
        "frame_time": _Array(("float64",), 1, "frames"),
    },
    "features": {"maps": _MAPS, "frame_index": _INDEX, "time": _TIME},
}
_STREAMS = {"streams/rgb": _MAPS, "streams/flow": _MAPS}


def check_arrays(file: h5py.File, header: Header) -> None:
    """Check the arrays of an open cache.

    Raises
    ------
    ValueError
        An array is not as it is written; the message names it.
    """
    layout = dict(_LAYOUTS[header.kind])
    if header.kind == "features" and "streams" in file:
        layout |= _STREAMS
    size = int(file.id.get_filesize())
    rows: dict[str, tuple[str, int]] = {}
    for name, wanted in layout.items():
        dataset = local_dataset(file, name)
        _check_form(name, dataset, wanted, size)
        first, count = rows.setdefault(wanted.rows, (name, len(dataset)))
        if len(dataset) != count:
            raise ValueError(f"{name} has {len(dataset):,} rows, {first} has {count:,}")
    _check_shapes(file, layout)
    for name in layout:
        if name.endswith("time") and not np.isfinite(file[name][()]).all():
            raise ValueError(f"{name} holds times that are not finite")
        if name.endswith("_index"):
            _check_index(name, file[name][()], header.decoded_frames)
    if header.kind == "flow":
        _check_scale(file["flow"])


def local_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset whose values are in this file and nowhere else; ValueError otherwise."""
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        place = "/".join(parts[:depth])
        link = file.get(place, getlink=True)
        if link is None:
            raise ValueError(f"{name} is missing")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{place} is a link to somewhere else; a cache holds its own arrays")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name} is no array")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"the values of {name} are in other files; a cache holds its own arrays")
    return dataset


def _check_form(name: str, dataset: h5py.Dataset, wanted: _Array, size: int) -> None:
    """Refuse another type or rank, and more values than a file of `size` bytes can hold."""
    if dataset.shape is None or dataset.ndim != wanted.rank:
        raise ValueError(f"{name} has the shape {dataset.shape}, expected {wanted.rank} axes")
    if dataset.dtype.newbyteorder("=").name not in wanted.types:
        raise ValueError(f"{name} holds {dataset.dtype}, expected {' or '.join(wanted.types)}")
    shape = [int(length) for length in dataset.shape]
    if shape[0] and min(shape[1:], default=1) < 1:
        raise ValueError(f"{name} has the shape {tuple(shape)}, without values")
    check_claim(name, dataset, size)


def check_claim(name: str, dataset: h5py.Dataset, size: int) -> None:
    """Refuse more values than a file of `size` bytes can hold, before they are read; ValueError."""
    shape = [int(length) for length in dataset.shape]
    values = dataset.dtype.itemsize
    for length in shape:
        values *= length
    # An index or a time takes more than a byte in any compression.
    if shape[0] > size or values > _DENSEST * size:
        raise ValueError(
            f"{name} claims {shape[0]:,} rows, {values:,} bytes; the file has {size:,} bytes"
        )


def _check_shapes(file: h5py.File, layout: dict[str, _Array]) -> None:
    """Refuse fields without two channels, and streams of two shapes."""
    if "flow" in layout and file["flow"].shape[1] != 2:
        raise ValueError(f"flow has the shape {file['flow'].shape}, expected (P, 2, H, W)")
    if "streams/rgb" in layout:
        shapes = [file[name].shape for name in _STREAMS]
        if shapes[0] != shapes[1]:
            raise ValueError(f"streams/rgb has the shape {shapes[0]}, streams/flow {shapes[1]}")


def _check_index(name: str, index: np.ndarray, frames: int) -> None:
    """Refuse frames that the video does not have; `frames` is negative where not known."""
    if len(index) == 0:
        return
    low, high = int(index.min()), int(index.max())
    if low < 0 or 0 <= frames <= high:
        counted = f"of {frames:,}" if frames >= 0 else ""
        raise ValueError(f"{name} names frames {low:,} to {high:,} {counted}".rstrip())


def _check_scale(flow: h5py.Dataset) -> None:
    scale, offset, clipped = (
        float(read_attribute(flow, name)) for name in ("scale", "offset", "clipped")
    )
    if not (np.isfinite(offset) and 0 < scale < np.inf and 0 <= clipped <= 1):
        raise ValueError(f"flow has scale {scale:g}, offset {offset:g}, {clipped:g} clipped")

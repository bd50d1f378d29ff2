"""Content digests of the arrays in a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import h5py
import numpy as np

from data.cache.attributes import read_attribute
from data.cache.header import canonical_json


class RowsDigest:
    """`dataset_digest` of a chunked dataset that is written row by row, without reading it again.

    It needs rows in order; after any other row `seal` reads the dataset instead.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._total = _new_digest(dataset)
        self._rows = 0

    def add(self, row: int, values: np.ndarray) -> None:
        """Add the values of a written row, C-contiguous and of the dataset's type."""
        if row == self._rows:
            self._total.update(values.data)
            self._rows += 1
        else:
            self._rows = -1

    def store(self) -> None:
        """Store the digest, where `seal` looks for it, if every row came in order."""
        if self._rows == len(self._dataset):
            self._dataset.attrs["sha256"] = self._total.hexdigest()


def seal(file: h5py.File) -> None:
    """Store the missing digests, then mark the file complete."""
    digests = {}
    for name, dataset in _datasets(file):
        if "sha256" not in dataset.attrs:
            dataset.attrs["sha256"] = dataset_digest(dataset)
        digests[name] = str(dataset.attrs["sha256"])
    file.attrs["content_digest"] = _combine(digests)
    file.attrs["complete"] = True
    file.flush()


def _datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """All datasets of a file with their full names, sorted."""
    datasets: list[tuple[str, h5py.Dataset]] = []

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            datasets.append((name, item))

    file.visititems(collect)
    return sorted(datasets)


def dataset_digest(dataset: h5py.Dataset) -> str:
    """SHA-256 over type, shape and values of a dataset; chunked ones are read row by row."""
    total = _new_digest(dataset)
    parts = (dataset[row] for row in range(len(dataset))) if dataset.chunks else [dataset[()]]
    for part in parts:
        total.update(np.ascontiguousarray(part).data)
    return total.hexdigest()


def _new_digest(dataset: h5py.Dataset) -> hashlib._Hash:
    return hashlib.sha256(f"{dataset.dtype.str}{tuple(dataset.shape)}".encode())


def _combine(digests: Mapping[str, str]) -> str:
    """One digest for all datasets of a file."""
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()


def array_problems(file: h5py.File) -> list[str]:
    """Datasets of an open cache whose content has changed since it was written, one line each."""
    problems, digests = [], {}
    for name, dataset in _datasets(file):
        digests[name] = str(read_attribute(dataset, "sha256"))
        try:
            if dataset_digest(dataset) != digests[name]:
                problems.append(f"{name}: content differs from its digest")
        except OSError as error:
            problems.append(f"{name}: cannot be read ({error})")
    if _combine(digests) != read_attribute(file, "content_digest"):
        problems.append("datasets were added, removed or replaced")
    return problems

"""Content digests of the arrays in a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import h5py
import numpy as np

from data.cache_header import canonical_json


def seal(file: h5py.File) -> None:
    """Store the digests, then mark the file complete."""
    digests = {}
    for name, dataset in _datasets(file):
        digests[name] = dataset_digest(dataset)
        dataset.attrs["sha256"] = digests[name]
    file.attrs["content_digest"] = _combine(digests)
    file.attrs["complete"] = True
    file.flush()


def _datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """All datasets of a file with their full names, sorted."""
    found: list[tuple[str, h5py.Dataset]] = []

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((name, item))

    file.visititems(collect)
    return sorted(found)


def dataset_digest(dataset: h5py.Dataset) -> str:
    """SHA-256 over type, shape and values of a dataset; chunked ones are read row by row."""
    total = hashlib.sha256(f"{dataset.dtype.str}{tuple(dataset.shape)}".encode())
    parts = (dataset[row] for row in range(len(dataset))) if dataset.chunks else [dataset[()]]
    for part in parts:
        total.update(np.ascontiguousarray(part).data)
    return total.hexdigest()


def _combine(digests: Mapping[str, str]) -> str:
    """One digest for all datasets of a file."""
    return hashlib.sha256(canonical_json(digests).encode()).hexdigest()


def array_problems(file: h5py.File) -> list[str]:
    """Datasets of an open cache whose content is not what was written."""
    problems, digests = [], {}
    for name, dataset in _datasets(file):
        digests[name] = str(dataset.attrs["sha256"])
        try:
            if dataset_digest(dataset) != digests[name]:
                problems.append(f"{name}: content differs from its digest")
        except OSError as error:
            problems.append(f"{name}: cannot be read ({error})")
    if _combine(digests) != file.attrs["content_digest"]:
        problems.append("datasets were added, removed or replaced")
    return problems

"""HDF5 cache files: written whole or not at all, and opened only when they can be trusted.

A process killed at any moment leaves the old file or none (`data.files`). HDF5 itself gives no
such promise: a plain file is unreadable after a kill, a preallocated one is silently zero. Its
locks are off: a file under its final name never changes, and some network shares have none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py

from data.cache.attributes import check_heaps, read_attribute, read_attributes
from data.cache.digest import array_problems, seal
from data.cache.header import SCHEMA, Header, from_attributes, header_differences, to_attributes
from data.cache.schema import DAMAGE, check_arrays
from data.cache.sink import NewFile
from data.errors import CacheError, InputError, StaleCacheError, system_reason
from data.files import is_system_name, whole_file

SUFFIX = ".h5"
#: Endings of the files that import-features reads.
_ARRAYS = (SUFFIX, ".hdf5", ".npy", ".npz")


def cache_path(output: str | Path, key: str) -> Path:
    """Path of the cache of a source: ``<output>/<key>.h5``; the key keeps its extension."""
    return Path(output) / (key + SUFFIX)


def key_of(output: str | Path, path: str | Path) -> str:
    """Source key of a cache path; the inverse of `cache_path`."""
    return Path(path).relative_to(output).as_posix().removesuffix(SUFFIX)


def find_caches(folder: str | Path, kind: str | None = None) -> dict[str, Path]:
    """Find the caches below a folder, by source key.

    Parameters
    ----------
    folder : path
        The ``--output`` of the stage that wrote them.
    kind : {"flow", "features"}, optional
        Leave out the other kind. A file that cannot be read is kept, to be reported when it is
        opened; HDF5 files of other programs are left out.

    Raises
    ------
    InputError
        The folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold the caches of an earlier stage")
    caches = {}
    for path in sorted(folder.rglob("*" + SUFFIX)):
        if any(map(is_system_name, path.relative_to(folder).parts)):
            continue
        content = _kind_of(path)
        if content == "" or (content is not None and kind in (content, None)):
            caches[key_of(folder, path)] = path
    return caches


def no_features(folder: Path) -> InputError:
    """Return the one line for a folder without feature caches; it may hold other arrays."""
    arrays = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ARRAYS)
    if not arrays:
        return InputError(f"{folder}: no feature caches; run extract-features first")
    files = f"{len(arrays)} file{'s' * (len(arrays) > 1)}"
    return InputError(
        f"{folder}: no feature caches, but {files} of other programs, e.g. "
        f"{arrays[0].name}; `pipeline import-features {folder} -o FEATURES` makes caches of them"
    )


def _kind_of(path: Path) -> str | None:
    """Kind of a cache; "" when the file cannot be read, None for other programs' files."""
    if not path.is_file():
        return None
    try:
        with _opened(path) as file:
            return str(read_attribute(file, "kind")) if "fingerprint" in file.attrs else None
    except DAMAGE:
        return ""


@contextmanager
def create_cache(path: str | Path, header: Header) -> Iterator[NewFile]:
    """Write one cache file: all of it, or nothing.

    Parameters
    ----------
    path : path
        Final place of the file; its folder is created.
    header : Header
        Written as attributes of the root.

    Yields
    ------
    NewFile
        Open for writing under a temporary name. When the block ends normally the digest of every
        dataset is stored, the file is marked ``complete``, synced and renamed into place. When
        it ends by any exception, nothing is left behind.

    Raises
    ------
    CacheError
        The file cannot be written: the disk is full, a quota or a size limit is reached, ….
    """
    try:
        with whole_file(path) as temporary, NewFile(temporary) as file:
            file.attrs.update(to_attributes(header))
            yield file
            seal(file)
    except OSError as error:
        raise CacheError(f"{path}: cannot be written ({system_reason(error)})") from error


@contextmanager
def open_cache(path: str | Path, kind: str | None = None) -> Iterator[tuple[h5py.File, Header]]:
    """Open a finished cache for reading, with its header.

    Raises
    ------
    CacheError
        The file is missing, damaged, unfinished, of another schema, or of another kind.
    """
    path = Path(path)
    try:
        file = _opened(path)
    except FileNotFoundError:
        raise CacheError(f"{path}: no such cache") from None
    except DAMAGE as error:
        raise CacheError(f"{path}: not a readable HDF5 file ({system_reason(error)})") from error
    with file:
        header = _checked_header(path, file)
        if kind and header.kind != kind:
            raise CacheError(f"{path}: expected a {kind} cache, found {header.kind}")
        _check_arrays(path, file, header)
        yield file, header


def _opened(path: Path) -> h5py.File:
    """Open a file for reading; a name that the locale cannot express is taken byte by byte."""
    check_heaps(path)
    return h5py.File(path if os.name == "nt" else os.fsencode(path), "r", locking=False)


def _checked_header(path: Path, file: h5py.File) -> Header:
    """Header of an open file, or a CacheError with the reason why there is none."""
    try:
        attributes = read_attributes(file)
        if "schema" not in attributes or "fingerprint" not in attributes:
            raise CacheError(
                f"{path}: an HDF5 file, but not a cache of this program; import-features makes "
                "caches of arrays"
            )
        if attributes["schema"] != SCHEMA:
            schema = attributes["schema"]
            raise CacheError(f"{path}: cache layout {schema}, this version reads {SCHEMA}")
        if not attributes.get("complete"):
            raise CacheError(f"{path}: the cache was never finished; delete it and run again")
        return from_attributes(attributes)
    except CacheError:
        raise
    except DAMAGE as error:
        raise CacheError(
            f"{path}: the cache's header is damaged ({system_reason(error)})"
        ) from error


def _check_arrays(path: Path, file: h5py.File, header: Header) -> None:
    try:
        check_arrays(file, header)
    except DAMAGE as error:
        raise CacheError(
            f"{path}: {system_reason(error)}; delete the file and run extract-{header.kind} again"
        ) from error


def read_header(path: str | Path) -> Header:
    """Header of a finished cache; CacheError as for `open_cache`."""
    with open_cache(path) as (_, header):
        return header


def content_digest(path: str | Path) -> str:
    """Digest of all arrays of a cache, which a later stage records as its upstream."""
    with open_cache(path) as (file, _):
        return str(read_attribute(file, "content_digest"))


def cache_differences(path: str | Path, expected: Header) -> list[str] | None:
    """Compare a cache with the expected header.

    Returns
    -------
    None, or list of str
        None when there is no file; an empty list when it is valid; otherwise one string a
        difference, each completing "the cache …".
    """
    if not Path(path).exists():
        return None
    try:
        return header_differences(read_header(path), expected)
    except CacheError as error:
        return ["is damaged: " + str(error).removeprefix(f"{path}: ")]


def check_folder(
    output: str | Path,
    expected: Mapping[str, Header],
    overwrite: bool = False,
    flag: str = "--output",
) -> list[str]:
    """Keys of the missing caches, in order; refuse stale ones, which only `overwrite` replaces.

    `flag` is the folder's flag on the command line.

    Raises
    ------
    StaleCacheError
        Some caches come from other input or options, or are damaged; one line for all.
    """
    if overwrite:
        return list(expected)
    todo, stale = [], {}
    for key, header in expected.items():
        differences = cache_differences(cache_path(output, key), header)
        if differences is None:
            todo.append(key)
        elif differences:
            stale[key] = differences
    if stale:
        raise StaleCacheError(_stale_line(Path(output), stale, flag))
    return todo


def _stale_line(output: Path, stale: Mapping[str, list[str]], flag: str) -> str:
    """Summarise stale caches: each difference once, with how many caches share it."""
    holders: dict[str, list[str]] = {}
    for key, messages in stale.items():
        for message in messages:
            # Digests differ from video to video: they would make every message unique.
            holders.setdefault(message.partition(" (sha256")[0], []).append(key)
    parts = []
    for message, keys in sorted(holders.items(), key=lambda item: -len(item[1]))[:4]:
        noun = "1 cache" if len(keys) == 1 else f"{len(keys)} caches"
        example = f" ({keys[0]})" if len(holders) > 1 or len(keys) == 1 else ""
        parts.append(f"{noun}{example} {_plural(message, len(keys))}")
    more = "; and more" if len(holders) > len(parts) else ""
    return f"{output}: {'; '.join(parts)}{more}; pass --overwrite or another {flag}"


def _plural(message: str, count: int) -> str:
    """Match the verb that a difference begins with to the number of caches."""
    verbs = {"was": "were", "is": "are", "holds": "hold"}
    first, space, rest = message.partition(" ")
    return (verbs.get(first, first) if count > 1 else first) + space + rest


def cache_problems(path: str | Path) -> list[str]:
    """Read a whole cache again and compare its digests.

    Returns
    -------
    list of str
        One string a problem; empty when every array is what was written.
    """
    try:
        with open_cache(path) as (file, header):
            problems = array_problems(file)
            if read_attribute(file, "fingerprint") != header.fingerprint:
                problems.append("the header was changed after writing")
            return problems
    except CacheError as error:
        return [str(error).removeprefix(f"{path}: ")]
    except DAMAGE as error:
        return [f"damaged ({system_reason(error)})"]

"""Result files: whole or absent, whatever stops the program."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from data.errors import CacheError, InputError, system_reason
from data.files import sweep, whole_file
from data.tables import formula_safe
from pipeline.shell.words import format_bytes

if TYPE_CHECKING:
    from torch import Tensor


#: Free bytes without which nothing is written, so that what HDF5 holds back until a file is closed,
#: 8 MB and the index, finds room for each of a few workers.
RESERVE = 32_000_000


@contextmanager
def published(path: Path, *, suffix: str = "", replace: bool = True) -> Iterator[Path]:
    """Yield a temporary path; publish as `path` what the block writes there.

    Folders are created. After an error nothing stands under either name. What killed processes left
    in the file's folder is removed.

    Parameters
    ----------
    path : Path
        Final name.
    suffix : str
        Ending of the temporary, for writers that choose a format by it.
    replace : bool
        Whether a file that already exists is replaced.

    Raises
    ------
    FileExistsError
        The file already exists and `replace` is False.
    InputError
        The file cannot be written; names it and the reason.
    """
    try:
        _sweep_once(path.parent.absolute())
        with whole_file(path, suffix=suffix, replace=replace) as temporary:
            yield temporary
    except OSError as error:
        if isinstance(error, FileExistsError) and not replace:
            raise
        raise InputError(f"{path}: cannot be written ({system_reason(error)})") from error


@cache
def _sweep_once(folder: Path) -> None:
    """Remove the temporaries of killed processes from a folder; once in the life of this one."""
    with suppress(OSError):  # Writing will say what is wrong with the folder.
        sweep(folder, below=False)


def check_is_folder(output: Path) -> None:
    """Raise an InputError where a file stands in the place of the folder of caches."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: expected a folder to write caches to, found a file")


def check_writable(output: Path, flag: str = "--output") -> None:
    """Check that files can be created in a folder, which may not exist yet, and have room.

    `flag` is its name on the command line.

    Raises
    ------
    InputError
        The folder cannot be written to, or its disk is nearly full.
    """
    try:
        with TemporaryFile(dir=_existing(output)):
            pass
    except OSError as error:
        raise InputError(
            f"{output}: cannot be written to ({system_reason(error)}); choose another {flag}"
        ) from error
    check_room(output)


def check_room(path: Path) -> None:
    """Raise a CacheError where the disk of a path, which may not exist yet, is nearly full."""
    disk = shutil.disk_usage(_existing(path))
    if disk.total and disk.free < RESERVE:  # a total of 0 is no disk
        raise CacheError(
            f"{path}: cannot be written: the disk is full ({format_bytes(disk.free)} free,"
            f" {format_bytes(RESERVE)} are kept free); make room and run the same command again"
        )


def _existing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; InputError where it cannot be written."""
    with published(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file with the line ends of `text`."""
    write_bytes(path, text.encode())


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """Write rows as a CSV file; its header is `columns`, or the keys of the first row.

    Names that a spreadsheet would take for formulas become text (`data.tables.formula_safe`).
    """
    text = io.StringIO()
    table = csv.DictWriter(text, list(columns or rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({name: formula_safe(cell) for name, cell in row.items()} for row in rows)
    write_text(path, text.getvalue())


def write_json(path: Path, content: Any) -> None:
    """Write a value as a readable JSON file."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, object],
    *,
    replace: bool = True,
) -> None:
    """Write tensors, with metadata whose values are stored as JSON.

    Raises
    ------
    FileExistsError
        The file already exists and `replace` is False.
    InputError
        The file cannot be written.
    """
    from safetensors.torch import save

    texts = {name: json.dumps(value) for name, value in metadata.items()}
    content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, texts)
    with published(path, replace=replace) as temporary:
        temporary.write_bytes(content)  # `save_file` would make it unreadable for others.


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and metadata (values decoded) of one of this program's files.

    Raises
    ------
    InputError
        Missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = {name: _decoded(text) for name, text in (file.metadata() or {}).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    return tensors, metadata


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

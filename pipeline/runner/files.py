"""Result files: whole or absent, whatever stops the program."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from data.files import whole_file

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def published(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; publish what the block writes there.

    Folders are created. After an error nothing stands under either name.

    Parameters
    ----------
    path : Path
        Final name.
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
        with whole_file(path, replace=replace) as temporary:
            yield temporary
    except FileExistsError:
        if replace:
            raise InputError(f"{path}: cannot be written: a file stands in its path") from None
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


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
    """Write rows as a CSV file; its header is `columns`, or the keys of the first row."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(columns or rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
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
    except json.JSONDecodeError:
        return text

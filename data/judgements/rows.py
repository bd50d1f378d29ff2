"""Small text tables as annotations hold them: rows of cells, with their line numbers."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError

_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Row:
    """One line of a text table: its number in the file (from 1) and its cells, stripped."""

    line: int
    cells: tuple[str, ...]


def read_text(path: str | Path) -> str:
    """Return a text file's content; a byte-order mark and any line ending are accepted.

    Raises
    ------
    InputError
        The file is missing, is a folder, or is not UTF-8 text.
    """
    path = Path(path)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeError) else str(error)
        raise InputError(
            f"expected a text file of annotations, cannot read {path}: {reason}"
        ) from error


def read_rows(path: str | Path) -> list[Row]:
    """Return the rows of a delimited file that are not empty; trailing empty cells are dropped.

    The delimiter is the comma, semicolon or tab that the first row has most of.
    """
    text = read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            while stripped and not stripped[-1]:
                stripped.pop()
            if stripped:
                rows.append(Row(reader.line_num, tuple(stripped)))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not a readable CSV: {error}") from error
    return rows


def read_words(path: str | Path) -> list[Row]:
    """Return the lines of a text file, each split at white space; blank lines are left out."""
    lines = read_text(path).splitlines()
    return [Row(n, tuple(line.split())) for n, line in enumerate(lines, 1) if line.strip()]

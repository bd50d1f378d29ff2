"""Small text tables that people write: rows of cells, with their line numbers.

One reader for judgements, scores, boxes and lists of videos, as spreadsheets of any language save
them: UTF-8 or UTF-16, commas, semicolons or tabs, a first line ``sep=;``, decimal commas.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError, system_reason

_DELIMITERS = ",;\t"
_SEP_LINE = re.compile(r'"?sep=(?P<delimiter>[^"\r\n])"?[,;\t]*\r?\n?', re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = tuple("=+-@\t\r")


@dataclass(frozen=True)
class Row:
    """One line of a text table.

    Attributes
    ----------
    line : int
        Its number in the file, from 1.
    cells : tuple of str
        Stripped, trailing empty ones dropped.
    delimiter : str
        What stands between the cells; "" where lines are split at white space.
    """

    line: int
    cells: tuple[str, ...]
    delimiter: str = ""

    def number(self, column: int) -> float:
        """Return a cell as a finite number; a decimal comma is understood.

        Raises
        ------
        ValueError
            The cell is no finite number, or it may be one of thousands ("1,234" among commas).
        IndexError
            There is no such cell.
        """
        cell = self.cells[column]
        if cell.count(",") == 1 and "." not in cell:
            if self.delimiter == "," and _THOUSANDS.fullmatch(cell):
                raise ValueError(f"{cell!r} may be a fraction or thousands")
            cell = cell.replace(",", ".")
        value = float(cell)
        if not math.isfinite(value):
            raise ValueError(f"{cell!r} is not finite")
        return value


def read_text(path: str | Path, what: str = "a text file of annotations") -> str:
    """Return a text file's content; UTF-8 or UTF-16, with or without a byte-order mark.

    Raises
    ------
    InputError
        The file is missing, is no regular file (a pipe would never end), or is not text.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(
                f"expected {what}, cannot read {path}: it is not a regular file; save it as one"
            )
        return _decoded(path.read_bytes())
    except UnicodeError as error:
        raise InputError(
            f"expected {what}, cannot read {path}: it is not UTF-8 or UTF-16 text; save it as "
            "'CSV UTF-8'"
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = "no such file" if isinstance(error, FileNotFoundError) else system_reason(error)
        raise InputError(f"expected {what}, cannot read {path}: {reason}") from error


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if content[1:2] == b"\0" or content[:1] == b"\0":  # UTF-16 of Latin letters without a mark
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be")
    return content.decode("utf-8-sig")


def read_rows(path: str | Path, what: str = "a text file of annotations") -> list[Row]:
    """Return the rows of a delimited file that are not empty; trailing empty cells are dropped.

    The delimiter is that of a first line ``sep=;``, or else the comma, semicolon or tab that the
    first row has most of. The apostrophe with which `formula_safe` protects a name is removed.

    Raises
    ------
    InputError
        As `read_text`; or a quoted cell has no end.
    """
    text = read_text(path, what)
    start = _SEP_LINE.match(text)
    body = text[start.end() :] if start else text
    if start:
        delimiter = start["delimiter"]
    else:
        first = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = max(_DELIMITERS, key=first.count)
    skipped = 1 if start else 0
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter)
    rows = []
    try:
        for cells in reader:
            stripped = [_unprotected(cell.strip()) for cell in cells]
            while stripped and not stripped[-1]:
                stripped.pop()
            if stripped:
                rows.append(Row(reader.line_num + skipped, tuple(stripped), delimiter))
    except csv.Error as error:
        line = reader.line_num + skipped
        raise InputError(f"{path}, line {line}: not a readable CSV: {error}") from error
    return rows


def read_words(path: str | Path) -> list[Row]:
    """Return the lines of a text file, each split at white space; blank lines are left out."""
    lines = read_text(path).splitlines()
    return [Row(n, tuple(line.split())) for n, line in enumerate(lines, 1) if line.strip()]


def one_form(name: str) -> str:
    """Return a name in the composed Unicode form (NFC), in which names are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def formula_safe(value: object) -> object:
    """Return a cell as a spreadsheet shows it: a name that begins like a formula as text.

    Such a name gets an apostrophe before it, which `read_rows` removes again. Numbers stay.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value


def _unprotected(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell

"""Words and numbers for people: counts, sizes, durations, options and tables."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# Control characters (ESC, newline, …), line separators, changes of the writing direction, and bytes
# of file names that are no text.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    """Return text with control characters escaped, except those to keep."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else ascii(match[0])[1:-1], text)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 video`, `2 videos`, `1,024 videos`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def format_duration(seconds: float) -> str:
    """Return a duration as people say it: `0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_bytes(count: float) -> str:
    """Return a size in decimal units: `512 B`, `25.1 KB`, `3.2 MB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def table_text(
    rows: Iterable[Sequence[str]], *, left: Collection[int] = (0,), rule: bool = False
) -> str:
    """Return a table for a terminal.

    Parameters
    ----------
    rows : iterable of sequences of str
        The cells, all rows equally long; the header, if any, is the first row.
    left : collection of int
        Columns that are aligned to the left; all others are aligned to the right.
    rule : bool
        Draw a line below the first row.
    """
    cells = [list(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    if rule:
        lines.insert(1, "-" * len(max(lines, key=len)))
    return "\n".join(lines)


def options_text(values: Mapping[str, Any]) -> str:
    """Return options as `bound 20, short side 256`, with nested groups on lines of their own."""
    flat = {k: v for k, v in values.items() if not isinstance(v, Mapping)}
    lines = [
        f"{group}: {line}"
        for group, inner in values.items()
        if isinstance(inner, Mapping)
        for line in options_text(inner).split("\n")
    ]
    if flat:
        lines.append(
            ", ".join(f"{name.replace('_', ' ')} {value_text(v)}" for name, v in flat.items())
        )
    return "\n".join(lines)


def value_text(value: Any) -> str:
    """Return the value of an option as text: `none`, `yes`, `0.25`, `256/340`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "/".join(map(value_text, value)) or "none"
    return str(value)


def finite(content: Any) -> Any:
    """Return content as JSON can hold it: arrays as lists, paths as text, NaN and ±inf as null."""
    if isinstance(content, Mapping):
        return {str(name): finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    if isinstance(content, Path):
        return str(content)
    if hasattr(content, "tolist"):
        return finite(content.tolist())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content

"""Values that a file of this program says of itself, checked before anything is built from them."""

from __future__ import annotations

import math
import types
from dataclasses import fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Options = TypeVar("Options")

#: What reading values of other kinds than expected raises.
DAMAGE = (KeyError, TypeError, ValueError, OverflowError)
#: Longest side of a map, and most channels: far above any network's.
LONGEST = 65_536


def damage(error: BaseException) -> str:
    """Return in words what is wrong with a header."""
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return f"its header is damaged ({reason})"


def read_options(cls: type[Options], values: object) -> Options:
    """Return options of a header.

    Raises
    ------
    ValueError
        One is unknown, of another type, or out of its bounds.
    """
    if not isinstance(values, dict):
        raise ValueError(f"its options are {str(values)[:40]!r}")
    hints = get_type_hints(cls)
    known = {each.name for each in fields(cls)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown option {name}")
        expect(name, value, _fits(value, hints[name]))
    return cls(**values)


def _fits(value: object, hint: Any) -> bool:
    """Whether a JSON value is one of an option's type."""
    kind = get_origin(hint)
    if kind is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if kind in (Union, types.UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if hint is type(None):
        return value is None
    if hint is float:
        return is_number(value)
    return type(value) is hint


def expect(name: str, value: object, good: bool) -> None:
    """Raise a ValueError that names a value which is not good."""
    if not good:
        text = str(value)
        raise ValueError(f"{name} is {text[:40]}{'…' if len(text) > 40 else ''}")


def is_list(values: object, fits: Any) -> bool:
    """Whether a JSON value is a list whose items all fit."""
    return isinstance(values, list) and all(map(fits, values))


def is_text(value: object) -> bool:
    """Whether a JSON value is text."""
    return isinstance(value, str)


def is_int(value: object, low: int, high: int) -> bool:
    """Whether a JSON value is an integer within limits."""
    return type(value) is int and low <= value <= high


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number."""
    # An integer of hundreds of digits is no float.
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)  # type: ignore[arg-type]

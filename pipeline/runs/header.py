"""What a checkpoint says of itself, checked before anything is built from it."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from model.ranker.options import RankerOptions, TrainOptions

Options = TypeVar("Options", RankerOptions, TrainOptions)

#: Longest side of a map, and most channels: far above any network's.
_LONGEST = 65_536


def check_header(about: Mapping[str, Any]) -> None:
    """Check every value of a checkpoint's header except its options.

    Raises
    ------
    KeyError, ValueError
        A value is missing, or of another kind than `Run` says; the message names it.
    """
    shape = about["shape"]
    _expect(
        "shape",
        shape,
        _is_list(shape, lambda side: _is_int(side, 1, _LONGEST)) and len(shape) == 3,
    )
    for name in ("weights", "parameters"):
        _expect(name, about[name], isinstance(about[name], dict))
    _expect("weights", about["weights"], _is_list(list(about["weights"].values()), _is_text))
    for name, low in (("snippet_stride", 1), ("best_epoch", 0), ("seed", -(2**63))):
        _expect(name, about[name], _is_int(about[name], low, 2**64))
    for name in ("keys", "training_videos"):
        _expect(name, about[name], _is_list(about[name], _is_text))
    digests, scores = about.get("feature_digests", []), about["scores"]
    _expect("feature_digests", digests, _is_list(digests, _is_text))
    _expect("scores", scores, _is_list(scores, _is_number) and len(scores) == len(about["keys"]))
    _expect("protocol", about["protocol"], _is_text(about["protocol"]))
    parts, accuracy = about.get("parts", {}), about.get("accuracy", {})
    _expect("parts", parts, isinstance(parts, dict) and all(map(_is_part, parts.values())))
    _expect(
        "accuracy",
        accuracy,
        isinstance(accuracy, dict)
        and all(value is None or _is_number(value) for value in accuracy.values()),
    )


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
    known = {each.name for each in fields(cls)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown option {name}")
        _expect(name, value, _fits(value, hints[name]))
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
        return _is_number(value)
    return type(value) is hint


def _expect(name: str, value: object, good: bool) -> None:
    if not good:
        text = str(value)
        raise ValueError(f"{name} is {text[:40]}{'…' if len(text) > 40 else ''}")


def _is_list(values: object, fits: Any) -> bool:
    return isinstance(values, list) and all(map(fits, values))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_int(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_number(value: object) -> bool:
    # An integer of hundreds of digits is no float.
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)  # type: ignore[arg-type]


def _is_part(value: object) -> bool:
    return _is_list(value, lambda frame: _is_int(frame, 0, 2**63)) and len(value) == 2  # type: ignore[arg-type]

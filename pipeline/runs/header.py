"""What a checkpoint says of itself, checked before anything is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.runner.schema import LONGEST, expect, is_int, is_list, is_number, is_text


def check_header(about: Mapping[str, Any]) -> None:
    """Check every value of a checkpoint's header except its options.

    Raises
    ------
    KeyError, ValueError
        A value is missing, or of another kind than `Run` says; the message names it.
    """
    shape = about["shape"]
    expect(
        "shape",
        shape,
        is_list(shape, lambda side: is_int(side, 1, LONGEST)) and len(shape) == 3,
    )
    for name in ("weights", "parameters"):
        expect(name, about[name], isinstance(about[name], dict))
    expect("weights", about["weights"], is_list(list(about["weights"].values()), is_text))
    for name, low in (("snippet_stride", 1), ("best_epoch", 0), ("seed", -(2**63))):
        expect(name, about[name], is_int(about[name], low, 2**64))
    for name in ("keys", "training_videos"):
        expect(name, about[name], is_list(about[name], is_text))
    digests, scores = about.get("feature_digests", []), about["scores"]
    expect("feature_digests", digests, is_list(digests, is_text))
    expect("scores", scores, is_list(scores, is_number) and len(scores) == len(about["keys"]))
    expect("protocol", about["protocol"], is_text(about["protocol"]))
    parts, accuracy = about.get("parts", {}), about.get("accuracy", {})
    expect("parts", parts, isinstance(parts, dict) and all(map(_is_part, parts.values())))
    expect(
        "accuracy",
        accuracy,
        isinstance(accuracy, dict)
        and all(value is None or is_number(value) for value in accuracy.values()),
    )


def _is_part(value: object) -> bool:
    return is_list(value, lambda frame: is_int(frame, 0, 2**63)) and len(value) == 2  # type: ignore[arg-type]

"""What is compared in a cross-validation, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class EvaluateOptions:
    """Variants, repetitions, and what to do about videos without features."""

    variants: tuple[str, ...] = field(
        default=("full",),
        metadata={
            "flag": "--variant",
            "help": "Ranker to evaluate; may be repeated, `all` takes every one. The first is the "
            "one that others are compared with.",
            "metavar": "NAME",
        },
    )
    seeds: int = field(
        default=3, metadata={"help": "Trainings of each variant on each fold.", "min": 1}
    )
    missing: Literal["error", "skip"] = field(
        default="error",
        metadata={"help": "Annotated videos without features: refuse, or leave their pairs out."},
    )
    draws: int = field(
        default=2000, metadata={"help": "Bootstrap draws of the intervals.", "min": 100}
    )

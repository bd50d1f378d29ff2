"""What is compared in a cross-validation, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Left, top, right and bottom, as shares of the frame.
Box = tuple[float, float, float, float]
# Of a table of boxes, which say where attention should be.
BOX_COLUMNS = ("video", "frame", "x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class EvaluateOptions:
    """Variants and repetitions."""

    variants: tuple[str, ...] = field(
        default=("full",),
        metadata={
            "flag": "--variant",
            "help": "Ranker to evaluate; may be repeated, `all` takes every one that the features "
            "suffice for. The first is the one that others are compared with.",
            "metavar": "NAME",
        },
    )
    seeds: int = field(
        default=3, metadata={"help": "Trainings of each variant on each fold.", "min": 1}
    )
    keep_rankers: bool = field(
        default=False,
        metadata={"help": "Keep every trained ranker too, for `score --ensemble`."},
    )
    draws: int = field(
        default=2000, metadata={"help": "Bootstrap draws of the intervals.", "min": 100}
    )

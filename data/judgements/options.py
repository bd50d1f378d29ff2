"""How judgements are read and folds are drawn; the flags of every command that takes pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from data.judgements.formats import FORMATS

DATASETS = ("auto", *FORMATS, "csv")


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Which judgements of a folder or file, and which folds."""

    dataset: str = field(
        default="auto",
        metadata={
            "help": "Form of the annotations; `auto` recognises it by the files.",
            "choices": DATASETS,
        },
    )
    task: str | None = field(
        default=None,
        metadata={"help": "Task of a data set with several, e.g. surgery.", "metavar": "NAME"},
    )
    folds: int | None = field(
        default=None,
        metadata={
            "help": "Draw so many folds instead of the published ones; 0 with --group-by leaves "
            "out one group at a time. Where none are published: 4, JIGSAWS one supertrial at a "
            "time.",
            "min": 0,
        },
    )
    group_by: str | None = field(
        default=None,
        metadata={
            "help": "Keep videos together in the folds whose names agree in this regular "
            "expression (its first group, or its match), e.g. '_([A-Z])' for the subject; for "
            "JIGSAWS also `subject` or `supertrial`.",
            "metavar": "REGEX",
        },
    )
    score_gap: float | None = field(
        default=None,
        metadata={
            "help": "Scored videos are a pair when their scores differ by more.",
            "source": "default 0; MIT-Dive 5, authors' code",
            "min": 0,
        },
    )
    judges: Literal["all", "majority"] = field(
        default="all",
        metadata={
            "help": "Several judgements of the same two videos: use them all, or once what most of "
            "them say (as many each way are a tie)."
        },
    )
    fold_seed: int = field(
        default=0, metadata={"help": "Seed of drawn folds.", "min": 0, "max": 2**63 - 1}
    )

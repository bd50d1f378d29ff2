"""What the user asks of a cross-validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data.judgements.options import DatasetOptions
from model.ranker.options import Preset, RankerOptions, TrainOptions
from pipeline.runner.jobs import JobOptions
from pipeline.runs.judgements import JudgementOptions
from pipeline.shell.flags import shared


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Variants, repetitions, and further inputs; the flags of `evaluate` derive from it."""

    variants: tuple[str, ...] = field(
        default=("full",),
        metadata={
            "flag": "--variant",
            "help": "Ranker to evaluate; may be repeated; `all` means every variant that the "
            "features allow. The others are compared with the first.",
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
    flow: Path | None = field(
        default=None, metadata={"help": "Flow caches, for the baseline mean flow."}
    )
    videos: Path | None = field(
        default=None, metadata={"help": "The videos, for the baseline brightness."}
    )
    boxes: Path | None = field(
        default=None,
        metadata={
            "help": "CSV video,frame,x0,y0,x1,y1 in [0, 1]: measure attention against these boxes."
        },
    )
    scores: Path | None = field(
        default=None,
        metadata={"help": "CSV video,score: rank correlations with these scores."},
    )


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """All that decides a cross-validation."""

    features: Path = shared("features")
    pairs: Path = shared("pairs")
    output: Path = shared("output")
    preset: Preset = shared("preset")
    options: EvaluateOptions = field(default_factory=EvaluateOptions)
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    judgements: JudgementOptions = field(default_factory=JudgementOptions)
    ranker: RankerOptions = field(default_factory=RankerOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    jobs: JobOptions = field(default_factory=JobOptions)
    snippet_stride: int = 1
    device: str = shared("device")
    seed: int = shared("seed")
    overwrite: bool = shared("overwrite")

"""What train-ranker is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data.errors import InputError
from data.judgements.options import DatasetOptions
from model.ranker.options import SNIPPET_STRIDE, Preset, RankerOptions, TrainOptions
from pipeline.runs.folder import claim
from pipeline.runs.judgements import JudgementOptions, Judgements, read_judgements
from pipeline.shell.flags import option, shared


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """What train-ranker is asked for; the flags derive from the fields.

    Attributes
    ----------
    output : Path
        The run folder.
    ranker, train : options
        What is trained, and how; the preset is already applied.
    device : str
        "auto", "cpu" or "cuda:n".
    threads : int
        Results are the same, bit for bit, for the same number.
    """

    features: Path = shared("features")
    pairs: Path = shared("pairs")
    test_pairs: Path | None = option(
        "Judgements to test on at the end; training never sees them.", default=None
    )
    output: Path = shared("output")
    fold: int = option(
        "Train and test on this fold of the data set, counted from 1; 0 trains on all pairs.",
        default=0,
        min=0,
    )
    preset: Preset = shared("preset")
    snippet_stride: int | None = shared("snippet_stride")
    threads: int = option(
        "CPU threads; more do not make so small a network faster.", default=1, min=1
    )
    resume: bool = option(
        "Go on with an interrupted run, to the same end.", default=False, switch=True
    )
    ranker: RankerOptions = field(default_factory=RankerOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    judgements: JudgementOptions = field(default_factory=JudgementOptions)
    device: str = shared("device")
    overwrite: bool = shared("overwrite")
    seed: int = shared("seed")

    @property
    def stride(self) -> int:
        """Least distance of snippets, in frames."""
        return self.snippet_stride or SNIPPET_STRIDE[self.preset]

    def check(self) -> None:
        """Refuse settings that exclude each other, and a folder that holds another run.

        Raises
        ------
        InputError
            Settings that cannot be used.
        """
        if self.overwrite and self.resume:
            raise InputError(
                "--overwrite and --resume exclude each other: replace the run or go on"
            )
        if self.seed < 0:
            raise InputError(f"--seed must not be negative, got {self.seed}")
        claim(self.output, self.overwrite, self.resume)

    def read_judgements(self) -> Judgements:
        """Read the pairs, or a fold of the data set, and name them by cache key."""
        return read_judgements(
            self.features,
            self.pairs,
            self.dataset,
            fold=self.fold,
            test_pairs=self.test_pairs,
            missing=self.judgements.missing,
            ties=self.judgements.ties,
        )

"""What fit-fusion is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data.errors import InputError
from data.judgements.options import DatasetOptions
from model.ranker.options import Preset, RankerOptions, TrainOptions
from pipeline.runner.files import check_writable
from pipeline.runs.choice import check_choice
from pipeline.runs.judgements import Judgements, read_judgements
from pipeline.shell.flags import option, shared


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """What fit-fusion is asked for; the flags derive from the fields.

    Attributes
    ----------
    output : Path
        The checkpoint. Next to it go `<stem>_curve.csv` and `<stem>_curve.png`, and while the fit
        runs `<output>.unfinished`, from which the same call goes on.
    ranker, train : options
        The ranker trained along, and how; the preset is already applied. Validation videos come
        from the training videos.
    device : str
        As for extract-features, one device.
    """

    features: Path = shared("features", help="Output of extract-features --keep-streams.")
    pairs: Path = shared("pairs")
    fold: int = option(
        "Use the training pairs of this fold alone, counted from 1; 0 takes all pairs.",
        default=0,
        min=0,
    )
    output: Path = shared(
        "output", help="Checkpoint to write (.safetensors); its training curve goes next to it."
    )
    preset: Preset = shared("preset")
    memory_gb: float = option(
        "Stream maps kept in memory; the rest is read again each time.", default=4.0, min=0
    )
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    ranker: RankerOptions = field(default_factory=RankerOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    device: str = shared("device")
    overwrite: bool = shared("overwrite")
    seed: int = shared("seed")

    def check(self) -> None:
        """Refuse settings that do not fit, before anything is read.

        Raises
        ------
        InputError
            The output has another ending, exists or cannot be written; there is nothing to learn.
        """
        from model.ranker.build import NEED_STREAMS

        if self.output.suffix != ".safetensors":
            raise InputError(f"-o {self.output}: expected a file name that ends in .safetensors")
        if self.output.exists() and not self.overwrite:
            raise InputError(f"{self.output}: already exists; pass --overwrite or another --output")
        if self.ranker.variant == "blend":
            raise InputError("fit-fusion trains one network: give --variant full in place of blend")
        if self.ranker.variant in NEED_STREAMS:
            raise InputError(f"--variant {self.ranker.variant} has no ConvFusion to learn")
        check_choice(self.train)
        if self.train.protocol == "authors":
            raise InputError(
                "--protocol authors chooses the epoch on test pairs, and fit-fusion sees none; "
                "use validation or last"
            )
        check_writable(self.output.parent)

    def read_judgements(self) -> Judgements:
        """Read the training pairs; videos of test pairs need no cache."""
        return read_judgements(
            self.features, self.pairs, self.dataset, fold=self.fold, training_only=True
        )

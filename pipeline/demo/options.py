"""What the demonstration computes, and its result.

The sizes are chosen so that it ends within minutes on two cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data.errors import InputError
from data.judgements.options import DatasetOptions
from data.options import FlowOptions, PlanOptions
from data.synthetic.options import SkillEffects, SyntheticOptions
from model.features.options import TrunkOptions
from model.ranker.options import RankerOptions, TrainOptions
from pipeline.evaluate.settings import EvaluateOptions, EvaluateSettings
from pipeline.shell.console import log
from pipeline.shell.flags import option, shared, taken
from pipeline.train_ranker.settings import TrainSettings

if TYPE_CHECKING:
    from pipeline.evaluate.tables import Table
    from pipeline.runner.jobs import Outcome
    from pipeline.runner.stage import StageOptions

_BUDGET = "ours: a minute on two cores in all"
_PLAIN = "ours: plain enough to be learnt from 36 videos through random trunks"
_ORDER = "ours: tremor as a whole says nothing, so that only what regards order can judge"


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What the demonstration computes."""

    videos: int = option(
        "Videos to generate.", default=48, source="ours: 32 left too few to train on", min=8
    )
    weights: Literal["random", "imagenet"] = option(
        "Weights of the trunks. Random ones need no download; ImageNet's see more.",
        default="random",
    )
    picture_size: int = option(
        "Side of the videos' pictures, pixels.", default=160, source=_BUDGET, min=48
    )
    hand_size: float = taken(SyntheticOptions, "hand_size", default=1.8, source=_PLAIN)
    shake: float = taken(SyntheticOptions, "shake", default=0.006, source=_PLAIN)
    settling: float = option(
        "Share of each video, from its start, in which skilled hands tremble instead.",
        default=0.5,
        source=_ORDER,
        min=0.0,
        max=0.9,
    )
    tremor: float = option(
        "Tremor of the clumsiest hand, standard deviation in picture sides.",
        default=0.036,
        source=_PLAIN,
        min=0.0,
        max=0.1,
    )
    flow_side: int = option(
        "Side at which flow is computed, pixels.", default=64, source=_BUDGET, min=16
    )
    flow_bound: float = option(
        "Largest displacement stored, pixels a frame at that side.",
        default=8.0,
        source="ours: 20 px of 256, less for a small side",
    )
    segments: int = option(
        "Segments of each video, one snippet each.", default=4, source=_BUDGET, min=1
    )
    stack_length: int = option(
        "Flow fields in a snippet's stack.", default=5, source=_BUDGET, min=1
    )
    input_size: int = option(
        "Side of the trunks' input, pixels; 161 to 192 give attention 3x3 cells.",
        default=162,
        source=_BUDGET,
        min=64,
    )
    training_snippets: int = option(
        "Snippets that random trunks are calibrated on.", default=16, source=_BUDGET, min=2
    )
    epochs: int = option(
        "Epochs of each training.", default=20, source="ours: 40 and 60 were no better", min=1
    )
    folds: int = option(
        "Folds of the cross-validation, by video.", default=4, source=_BUDGET, min=2
    )
    trainings: int = option("Seeds of the ranker on each fold.", default=1, min=1)
    engine: str = shared("engine")
    seed: int = shared("seed", min=0, help="Seed of videos, random trunks, folds and rankers.")

    def synthetic(self) -> SyntheticOptions:
        """Return the format of the videos."""
        return SyntheticOptions(
            picture_size=self.picture_size, hand_size=self.hand_size, shake=self.shake
        )

    def effects(self) -> SkillEffects:
        """Return how clumsiness shows."""
        return SkillEffects(tremor_gain=self.tremor, settling=self.settling)

    def plan(self) -> PlanOptions:
        """Return the snippets that are computed."""
        return PlanOptions(segments=self.segments, candidates=1, stack_length=self.stack_length)

    def flow(self) -> FlowOptions:
        """Return the size of the flow."""
        return FlowOptions(bound=self.flow_bound, short_side=self.flow_side)

    def trunk(self) -> TrunkOptions:
        """Return the trunks."""
        return TrunkOptions(
            weights=self.weights,
            input_size=self.input_size,
            training_snippets=self.training_snippets,
        )

    def dataset(self) -> DatasetOptions:
        """Return the folds of the judgements."""
        return DatasetOptions(folds=self.folds, fold_seed=self.seed)

    def ranker(self) -> RankerOptions:
        """Return the full ranker, for these segments."""
        return RankerOptions(segments=self.segments)

    def train(self) -> TrainOptions:
        """Return the training, which takes the last epoch.

        There are too few videos to hold some back for the choice of an epoch.
        """
        return TrainOptions(epochs=self.epochs, protocol="last")

    def evaluation(self, stage: StageOptions) -> EvaluateSettings:
        """Return the cross-validation of the full ranker on the set in the stage's output."""
        synthetic = stage.output / "synthetic"
        return EvaluateSettings(
            features=stage.output / "features",
            pairs=synthetic / "pairs.csv",
            output=stage.output / "evaluation",
            options=EvaluateOptions(
                seeds=self.trainings,
                flow=stage.output / "flow",
                videos=synthetic / "videos",
                boxes=synthetic / "boxes.csv",
                scores=synthetic / "skill.csv",
            ),
            dataset=self.dataset(),
            ranker=self.ranker(),
            train=self.train(),
            jobs=stage.jobs,
            device="cpu",
            seed=self.seed,
            overwrite=stage.overwrite,
        )

    def training(self, stage: StageOptions) -> TrainSettings:
        """Return the training of one ranker on the first fold, to be explained and reported."""
        return TrainSettings(
            features=stage.output / "features",
            pairs=stage.output / "synthetic" / "pairs.csv",
            output=stage.output / "run",
            fold=1,
            dataset=self.dataset(),
            ranker=self.ranker(),
            train=self.train(),
            device="cpu",
            seed=self.seed,
            overwrite=stage.overwrite,
            resume=not stage.overwrite,
        )


@dataclass
class DemoResult:
    """The result of the demonstration.

    Attributes
    ----------
    folder : Path
        Where everything is.
    table : Table or None
        Of the cross-validation; None when trainings failed.
    seconds : dict of str to float
        Wall time of each stage, in order.
    failures : list
        Name and message of every failure, over all stages.
    """

    folder: Path
    table: Table | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def page(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Log the name of a stage, and measure its time."""
        log.info("%s", name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def collect(self, outcome: Outcome[Any, Any]) -> None:
        """Keep the failures of a stage.

        Raises
        ------
        InputError
            Every item failed, so that the next stage has no input.
        """
        self.failures += [
            (str(getattr(item, "key", item)), message) for item, message in outcome.failures
        ]
        if outcome.failures and not outcome.results:
            raise InputError(f"every item failed, e.g. {outcome.failures[0][1]}")

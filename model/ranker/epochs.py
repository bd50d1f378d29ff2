"""Epochs of a fit: what is kept of them, which one is chosen, and when they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from model.ranker.loss import ranking_loss
from model.ranker.optimizer import Optimizer
from model.ranker.options import TrainOptions
from model.ranker.scoring import pair_accuracy

Record = dict[str, float]


@dataclass
class EpochState:
    """What every fit keeps of its epochs to continue after an interruption.

    Attributes
    ----------
    epoch : int
        Epochs done.
    best_epoch : int
        Chosen epoch so far, counted from 1; 0 before the first.
    optimizer : dict
        State dictionary of the optimiser.
    generator : Tensor
        State of the random generator.
    history : list of dict
        One record an epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    optimizer: dict[str, Any] = field(default_factory=dict)
    generator: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))
    history: list[Record] = field(default_factory=list)

    def finished(self, train: TrainOptions, validated: bool) -> bool:
        """Return whether all epochs are done, or none was better for `patience` epochs."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= train.epochs or (
            validated and bool(train.patience) and waited >= (train.patience or 0)
        )

    def enter(
        self,
        record: Record,
        optimizer: Optimizer,
        generator: torch.Generator,
        *,
        by_accuracy: bool = False,
    ) -> bool:
        """Enter a finished epoch; return whether it is the chosen one so far.

        The lowest validation loss is chosen, then the earliest epoch; `by_accuracy` the highest
        accuracy first, as the authors do. Without validation, the last epoch.
        """
        self.epoch += 1
        self.optimizer = optimizer.state_dict()
        self.generator = generator.get_state()
        self.history.append(record)
        best = self.history[self.best_epoch - 1] if self.best_epoch else None
        chosen = (
            best is None
            or "validation_loss" not in record
            or _merit(record, by_accuracy) > _merit(best, by_accuracy)
        )
        if chosen:
            self.best_epoch = self.epoch
        return chosen


def _merit(record: Record, by_accuracy: bool) -> tuple[float, float]:
    """Return what the chosen epoch has most of.

    Accuracy moves by whole pairs, and most validation pairs name a video that is trained on: it
    stays high while the scores of held-out videos grow worse. The loss shows that.
    """
    loss = -record["validation_loss"]
    return (record["validation_accuracy"] if by_accuracy else loss), loss


def validation_record(scores: Tensor, pairs: Tensor, margin: float) -> Record:
    """Return loss and accuracy of (P, 2) validation pairs of positions in `scores`."""
    return {
        "validation_loss": ranking_loss(scores, pairs, margin).item(),
        "validation_accuracy": pair_accuracy(scores, pairs),
    }

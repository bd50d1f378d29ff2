"""Margin ranking loss over pairs of scores, Eq. (9), and rankers with a loss of their own."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from model.ranker.recurrent import Output


@runtime_checkable
class OwnLoss(Protocol):
    """A ranker that is trained by a loss of its own instead of `ranking_loss`."""

    def loss(self, out: Output, pairs: Tensor, margin: float) -> Tensor:
        """Return the loss of (P, 2) pairs of positions in `out`."""


def pair_loss(model: nn.Module, out: Output, pairs: Tensor, margin: float) -> Tensor:
    """Return the loss that a ranker is trained by: its own where it has one, else Eq. (9)."""
    if isinstance(model, OwnLoss):
        return model.loss(out, pairs, margin)
    return ranking_loss(out.score, pairs, margin)


def ranking_loss(score: Tensor, pairs: Tensor, margin: float) -> Tensor:
    """Return the mean over pairs of max(0, margin − S_better + S_worse).

    Parameters
    ----------
    score : Tensor
        (B,) scores of the distinct videos.
    pairs : Tensor
        (P, 2) int64 positions (better, worse) in `score`.
    margin : float
        By how much the better video must lead.
    """
    lead = score[pairs[:, 0]] - score[pairs[:, 1]]
    return torch.clamp(margin - lead, min=0).mean()  # Eq. (9)

"""Margin ranking loss over pairs of scores: Eq. (9)."""

from __future__ import annotations

import torch
from torch import Tensor


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

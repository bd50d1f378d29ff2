"""Ablation: no attention; the task RNN sees the average of each map."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from model.ranker.options import RankerOptions
from model.ranker.recurrent import Look, RecurrentRanker


class AverageLook(Look):
    """v_t = AvgPool(X_t) in place of Eqs. (1) to (6)."""

    def prepare(self, x: Tensor) -> dict[str, Any]:
        """Average all maps, (B, T, P, C) to T times (B, C)."""
        return {"v": x.mean(dim=2).unbind(1)}

    def forward(
        self, prepared: dict[str, Any], t: int, h_att: Tensor, h_task: Tensor
    ) -> tuple[Tensor, None, Tensor]:
        """Return v_t (B, C), no weights, and `h_att` as it was."""
        return prepared["v"][t], None, h_att


def build(options: RankerOptions, channels: int, height: int, width: int) -> RecurrentRanker:
    """Return the ranker for maps of C×H×W."""
    return RecurrentRanker(AverageLook(), channels, options.hidden_size, options.initial_hidden)

"""Ablation: a linear layer in place of the attention RNN, so that attention has no memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.ranker.attention import SpatialAttention, pooled
from model.ranker.options import RankerOptions
from model.ranker.recurrent import Attend, AttentionState, RecurrentRanker


class AttentionLayer(AttentionState):
    """h_att_t = W c_t + b in place of Eq. (3): no activation, no recurrence."""

    def __init__(self, channels: int, hidden_size: int) -> None:
        super().__init__()
        self.norm_x = nn.LayerNorm(channels)
        self.norm_h = nn.LayerNorm(hidden_size)
        self.linear = nn.Linear(channels + hidden_size, hidden_size)

    def prepare(self, x: Tensor) -> Tensor:
        """Return LN(x̄) of all steps, (B, T, P, C) to (B, T, C)."""
        return self.norm_x(pooled(x))  # Eq. (1)

    def forward(self, x_bar: Tensor, h_task: Tensor, h_att: Tensor) -> Tensor:
        """Return h_att_t (B, D); the previous one is ignored."""
        return self.linear(torch.cat([x_bar, self.norm_h(h_task)], dim=1))  # Eq. (2)


def build(options: RankerOptions, channels: int, height: int, width: int) -> RecurrentRanker:
    """Return the ranker for maps of C×H×W."""
    size = options.hidden_size
    attend = Attend(
        AttentionLayer(channels, size), SpatialAttention(channels, size, options.attention_size)
    )
    return RecurrentRanker(attend, channels, size, options.initial_hidden)

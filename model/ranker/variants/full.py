"""The paper's ranker: an attention RNN that sees the pooled map and the task's state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.ranker.attention import SpatialAttention, pooled
from model.ranker.options import RankerOptions
from model.ranker.recurrent import Attend, AttentionState, RecurrentRanker, orthogonal_gru


class AttentionRNN(AttentionState):
    """RNN_att on the pooled map and the task's state, Eqs. (1) to (3)."""

    def __init__(self, channels: int, hidden_size: int) -> None:
        super().__init__()
        self.norm_x = nn.LayerNorm(channels)
        self.norm_h = nn.LayerNorm(hidden_size)
        self.gru = orthogonal_gru(channels + hidden_size, hidden_size)

    def prepare(self, x: Tensor) -> Tensor:
        """Return LN(x̄) of all steps, (B, T, P, C) to (B, T, C)."""
        return self.norm_x(pooled(x))  # Eq. (1)

    def forward(self, x_bar: Tensor, h_task: Tensor, h_att: Tensor) -> Tensor:
        """Return h_att_t (B, D) from LN(x̄_t) (B, C), h_task_{t−1} and h_att_{t−1} (B, D)."""
        c = torch.cat([x_bar, self.norm_h(h_task)], dim=1)  # Eq. (2)
        return self.gru(c, h_att)  # Eq. (3)


def build(options: RankerOptions, channels: int, height: int, width: int) -> RecurrentRanker:
    """Return the ranker for maps of C×H×W."""
    size = options.hidden_size
    attend = Attend(
        AttentionRNN(channels, size), SpatialAttention(channels, size, options.attention_size)
    )
    return RecurrentRanker(attend, channels, size, options.initial_hidden)

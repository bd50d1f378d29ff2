"""Ablation: the attention RNN sees the pooled map only, not the task's state."""

from __future__ import annotations

from torch import Tensor, nn

from model.ranker.attention import SpatialAttention, pooled
from model.ranker.options import RankerOptions
from model.ranker.recurrent import Attend, AttentionState, RecurrentRanker, orthogonal_gru


class SnippetRNN(AttentionState):
    """RNN_att with c_t = LN(x̄_t) in place of Eq. (2)."""

    def __init__(self, channels: int, hidden_size: int) -> None:
        super().__init__()
        self.norm_x = nn.LayerNorm(channels)
        self.gru = orthogonal_gru(channels, hidden_size)

    def prepare(self, x: Tensor) -> Tensor:
        """Return LN(x̄) of all steps, (B, T, P, C) to (B, T, C)."""
        return self.norm_x(pooled(x))  # Eq. (1)

    def forward(self, x_bar: Tensor, h_task: Tensor, h_att: Tensor) -> Tensor:
        """Return h_att_t (B, D); `h_task` is ignored."""
        return self.gru(x_bar, h_att)  # Eq. (3)


def build(options: RankerOptions, channels: int, height: int, width: int) -> RecurrentRanker:
    """Return the ranker for maps of C×H×W."""
    size = options.hidden_size
    attend = Attend(
        SnippetRNN(channels, size), SpatialAttention(channels, size, options.attention_size)
    )
    return RecurrentRanker(attend, channels, size, options.initial_hidden)

"""Ablation: the attention RNN sees the task's state only, not the pooled map."""

from __future__ import annotations

from torch import Tensor, nn

from model.ranker.attention import SpatialAttention
from model.ranker.options import RankerOptions
from model.ranker.recurrent import Attend, AttentionState, RecurrentRanker, orthogonal_gru


class TaskStateRNN(AttentionState):
    """RNN_att with c_t = LN(h_task_{t−1}) in place of Eq. (2)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.norm_h = nn.LayerNorm(hidden_size)
        self.gru = orthogonal_gru(hidden_size, hidden_size)

    def prepare(self, x: Tensor) -> None:
        """Nothing: the maps do not enter."""

    def forward(self, prepared: None, h_task: Tensor, h_att: Tensor) -> Tensor:
        """Return h_att_t (B, D) from h_task_{t−1} and h_att_{t−1} (B, D)."""
        return self.gru(self.norm_h(h_task), h_att)  # Eq. (3)


def build(options: RankerOptions, channels: int, height: int, width: int) -> RecurrentRanker:
    """Return the ranker for maps of C×H×W."""
    size = options.hidden_size
    attend = Attend(TaskStateRNN(size), SpatialAttention(channels, size, options.attention_size))
    return RecurrentRanker(attend, channels, size, options.initial_hidden)

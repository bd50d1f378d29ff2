"""Rival: spatial and channel-wise attention steered by the task's state.

Chen et al., "SCA-CNN: Spatial and channel-wise attention in convolutional networks", CVPR 2017
(channel before space), in the form in which the authors of the ranker compare with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from model.ranker.attention import SpatialAttention
from model.ranker.options import RankerOptions
from model.ranker.recurrent import Look, RecurrentRanker

INNER_SIZE = 64  # of both attentions (authors' code)


class ChannelAttention(nn.Module):
    """β_c = σ(w tanh(W_x avg_c + W_h h)) with one weight vector for all channels."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.w_x = nn.Linear(1, INNER_SIZE)
        self.w_h = nn.Linear(hidden_size, INNER_SIZE)
        self.w = nn.Linear(INNER_SIZE, 1)

    def forward(self, average: Tensor, h: Tensor) -> Tensor:
        """Return β (B, C) in (0, 1) from channel averages (B, C) and h (B, D)."""
        inner = torch.tanh(self.w_x(average[..., None]) + self.w_h(h)[:, None])
        return torch.sigmoid(self.w(inner)).squeeze(-1)


class ChannelThenSpace(Look):
    """Scale the channels by β, then weigh the positions; both look at h_task."""

    def __init__(self, channels: int, hidden_size: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(hidden_size)
        self.spatial = SpatialAttention(channels, hidden_size, INNER_SIZE)

    def prepare(self, x: Tensor) -> dict[str, Any]:
        """Average the channels of all maps at once; x (B, T, P, C)."""
        return {"x": x.unbind(1), "average": x.mean(dim=2).unbind(1)}

    def forward(
        self, prepared: dict[str, Any], t: int, h_att: Tensor, h_task: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return v_t (B, C), α_t (B, P), and `h_att` as it was."""
        beta = self.channel(prepared["average"][t], h_task)
        x = prepared["x"][t] * beta[:, None]
        v, alpha = self.spatial(self.spatial.project(x), x, h_task)
        return v, alpha, h_att


def build(options: RankerOptions, channels: int, height: int, width: int) -> RecurrentRanker:
    """Return the ranker for maps of C×H×W."""
    look = ChannelThenSpace(channels, options.hidden_size)
    return RecurrentRanker(look, channels, options.hidden_size, options.initial_hidden)

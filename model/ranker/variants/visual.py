"""Rival: an LSTM that chooses where to look next from its state alone.

Sharma, Kiros and Salakhutdinov, "Action recognition using visual attention", 2015,
arXiv:1511.04119, in the form in which the authors of the ranker compare with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.ranker.attention import by_position, weighted_sum
from model.ranker.loss import ranking_loss
from model.ranker.options import RankerOptions
from model.ranker.recurrent import Output


class VisualAttention(nn.Module):
    """α_t = softmax(W h_{t−1}) over positions; the LSTM sees Σ_i α_{i,t} ReLU(x_{i,t}).

    Its first state comes from the mean feature of the video, so that there is no draw to make.

    Parameters
    ----------
    channels, positions, hidden_size : int
        C, P = H·W, D.
    coverage_weight : float
        Weight of Σ_i (1 − Σ_t α_{i,t})², which asks that every position be looked at.
    """

    def __init__(
        self, channels: int, positions: int, hidden_size: int, coverage_weight: float
    ) -> None:
        super().__init__()
        self.first_h = nn.Linear(channels, hidden_size)
        self.first_c = nn.Linear(channels, hidden_size)
        self.where = nn.Linear(hidden_size, positions)
        self.lstm = nn.LSTMCell(channels, hidden_size)
        self.fc = nn.Linear(hidden_size, 1)
        self.coverage_weight = coverage_weight

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Output:
        """Score videos (B, T, C, H, W)."""
        features = torch.relu(by_position(x))
        mean = features.mean(dim=(1, 2))
        h, c = torch.tanh(self.first_h(mean)), torch.tanh(self.first_c(mean))
        hidden, alphas = [], []
        for x_t in features.unbind(1):
            alpha = torch.softmax(self.where(h), dim=1)
            h, c = self.lstm(weighted_sum(alpha, x_t), (h, c))
            hidden.append(h)
            alphas.append(alpha)
        running = self.fc(torch.stack(hidden, dim=1)).squeeze(-1)
        attention = torch.stack(alphas, dim=1).unflatten(2, x.shape[3:])
        return Output(running[:, -1], running, attention)

    def loss(self, out: Output, pairs: Tensor, margin: float) -> Tensor:
        """Return the ranking loss plus the weighted coverage loss, averaged over videos."""
        loss = ranking_loss(out.score, pairs, margin)
        if self.coverage_weight and out.attention is not None:
            looked_at = out.attention.sum(dim=1).flatten(1)
            loss = loss + self.coverage_weight * (1 - looked_at).square().sum(dim=1).mean()
        return loss


def build(options: RankerOptions, channels: int, height: int, width: int) -> VisualAttention:
    """Return the ranker for maps of C×H×W."""
    return VisualAttention(channels, height * width, options.hidden_size, options.coverage_weight)

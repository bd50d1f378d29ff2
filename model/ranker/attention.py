"""Spatial attention steered by a hidden state: Eqs. (4) to (6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def by_position(x: Tensor) -> Tensor:
    """Return maps (B, T, C, H, W) as (B, T, P, C) with P = H·W, a view in channels-last memory."""
    return x.flatten(3).transpose(2, 3)


def pooled(x: Tensor) -> Tensor:
    """Return x̄, the average plus the maximum over positions: (B, T, P, C) to (B, T, C)."""
    return x.mean(dim=2) + x.amax(dim=2)  # Eq. (1)


class SpatialAttention(nn.Module):
    """Weigh the positions of a map by their agreement with a hidden state.

    The part that does not depend on the hidden state, W_xa x + b_xa, is one product for all
    snippets (`project`); `forward` does one time step.

    Parameters
    ----------
    channels, hidden_size, inner_size : int
        C, D, and the inner size of the attention.
    """

    def __init__(self, channels: int, hidden_size: int, inner_size: int) -> None:
        super().__init__()
        self.w_xa = nn.Linear(channels, inner_size)
        self.w_ha = nn.Linear(hidden_size, inner_size)
        self.w_a = nn.Linear(inner_size, 1, bias=False)

    def project(self, x: Tensor) -> Tensor:
        """Return W_xa x + b_xa of all positions, (B, T, P, C) to (B, T, P, inner)."""
        return self.w_xa(x)

    def forward(self, projected: Tensor, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return v (B, C) and α (B, P) of one step: projected (B, P, inner), x (B, P, C), h (B, D).

        The weights α are positive and sum to 1.
        """
        a = self.w_a(torch.tanh(projected + self.w_ha(h)[:, None])).squeeze(-1)  # Eq. (4)
        alpha = torch.softmax(a, dim=-1)  # Eq. (5)
        return weighted_sum(alpha, x), alpha


def weighted_sum(alpha: Tensor, x: Tensor) -> Tensor:
    """Return v = Σ_i α_i x_i: α (B, P) and x (B, P, C) to (B, C)."""
    return torch.bmm(alpha[:, None], x).squeeze(1)  # Eq. (6)

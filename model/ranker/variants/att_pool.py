"""Rival: attentional pooling, a rank-1 bilinear pool of each map.

Girdhar and Ramanan, "Attentional pooling for action recognition", NeurIPS 2017, in the form in
which the authors of the ranker compare with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.ranker.attention import by_position
from model.ranker.options import RankerOptions
from model.ranker.recurrent import Output


class AttentionalPooling(nn.Module):
    """S = mean over t of Σ_i (bottom-up b_i)(top-down d_i), both 1×1 convolutions of ReLU(X)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bottom_up = nn.Linear(channels, 1)
        self.top_down = nn.Linear(channels, 1)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Output:
        """Score videos (B, T, C, H, W).

        The attention reported is the bottom-up map, moved to a least value of 0 and scaled to a
        sum of 1: for looking at, since the model itself does not normalise it.
        """
        # ConvFusion ends without an activation; here its second convolution has a ReLU too.
        features = torch.relu(by_position(x))
        bottom_up = self.bottom_up(features).squeeze(-1)  # (B, T, P)
        each = (bottom_up * self.top_down(features).squeeze(-1)).sum(dim=2)
        steps = torch.arange(1, x.shape[1] + 1, device=x.device)
        running = each.cumsum(dim=1) / steps
        above = bottom_up.detach() - bottom_up.detach().amin(dim=2, keepdim=True)
        # A constant map has no least place: the small number makes it uniform.
        above = above + torch.finfo(above.dtype).tiny
        attention = above / above.sum(dim=2, keepdim=True)
        return Output(running[:, -1], running, attention.unflatten(2, x.shape[3:]))


def build(options: RankerOptions, channels: int, height: int, width: int) -> AttentionalPooling:
    """Return the ranker for maps of C×H×W."""
    return AttentionalPooling(channels)

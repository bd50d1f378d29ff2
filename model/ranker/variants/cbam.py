"""Rival: channel gate, then spatial weights, without memory.

Woo, Park, Lee and Kweon, "CBAM: Convolutional block attention module", ECCV 2018, in the form in
which the authors of the ranker compare with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from model.ranker.options import RankerOptions
from model.ranker.recurrent import Look, RecurrentRanker

SPATIAL_SIZE = 32  # channels between the two convolutions of the spatial gate (authors' code)


class GatedLook(Look):
    """Gate the channels, weigh the positions; every snippet by itself, so all at once.

    Parameters
    ----------
    channels, height, width : int
        C, H, W.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        # One MLP for both pools, as wide inside as outside.
        self.channel = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels)
        )
        self.spatial = nn.Sequential(
            nn.InstanceNorm2d(2, affine=True),
            nn.Conv2d(2, SPATIAL_SIZE, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(SPATIAL_SIZE, 1, 1),
        )
        self.shape = (height, width)

    def prepare(self, x: Tensor) -> dict[str, Any]:
        """Attend to all maps at once; x (B, T, P, C)."""
        gate = torch.sigmoid(self.channel(x.mean(dim=2)) + self.channel(x.amax(dim=2)))
        x = x * gate[:, :, None]
        over_channels = torch.stack([x.mean(dim=3), x.amax(dim=3)], dim=2)  # (B, T, 2, P)
        planes = over_channels.flatten(0, 1).unflatten(2, self.shape)
        alpha = torch.softmax(self.spatial(planes).flatten(1), dim=1).unflatten(0, x.shape[:2])
        v = torch.matmul(alpha[:, :, None], x).squeeze(2)
        return {"v": v.unbind(1), "alpha": alpha.unbind(1)}

    def forward(
        self, prepared: dict[str, Any], t: int, h_att: Tensor, h_task: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return v_t (B, C), α_t (B, P), and `h_att` as it was."""
        return prepared["v"][t], prepared["alpha"][t], h_att


def build(options: RankerOptions, channels: int, height: int, width: int) -> RecurrentRanker:
    """Return the ranker for maps of C×H×W.

    Raises
    ------
    ValueError
        If a map has one position only, which InstanceNorm cannot normalise.
    """
    if height * width < 2:
        raise ValueError(f"cbam needs maps of two positions or more, got {height}×{width}")
    look = GatedLook(channels, height, width)
    return RecurrentRanker(look, channels, options.hidden_size, options.initial_hidden)

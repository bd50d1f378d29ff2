"""ConvFusion: two stream maps to one fused map X (paper, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvFusion(nn.Module):
    """Concatenation → Conv 2×2, stride 2 → ReLU → Conv 1×1 (authors' sizes 4096 → 512 → 256).

    Parameters
    ----------
    stream_channels : int
        Channels of one stream map: 2048 at conv5, 1024 at conv4.
    hidden : int
        Channels after the first convolution.
    channels : int
        Channels of the fused map.
    """

    def __init__(self, stream_channels: int = 2048, hidden: int = 512, channels: int = 256) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(2 * stream_channels, hidden, kernel_size=2, stride=2)
        self.project = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Fuse the maps of one snippet each.

        Parameters
        ----------
        rgb, flow : Tensor (B, stream_channels, h, w)

        Returns
        -------
        Tensor (B, channels, ⌊h/2⌋, ⌊w/2⌋)
        """
        return self.project(torch.relu(self.reduce(torch.cat((rgb, flow), dim=1))))


def random_fusion(stream_channels: int, hidden: int, channels: int, seed: int) -> ConvFusion:
    """Start ConvFusion as PyTorch starts convolutions, from a seed of its own.

    The process's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ConvFusion(stream_channels, hidden, channels)

"""Whitened PCA in ConvFusion's place: linear, fitted without labels on training videos.

Differs from the paper: no learnt ConvFusion, because caches of maps need it frozen; PCA is one
of three ways to freeze it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PcaFusion(nn.Module):
    """2×2 mean of the concatenated maps, then a whitened projection on the leading components."""

    def __init__(self, stream_channels: int = 2048, channels: int = 256) -> None:
        super().__init__()
        self.project = nn.Conv2d(2 * stream_channels, channels, kernel_size=1)

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Fuse (B, stream_channels, h, w) maps to (B, channels, ⌊h/2⌋, ⌊w/2⌋)."""
        return self.project(pool_streams(rgb, flow))


def pool_streams(rgb: Tensor, flow: Tensor) -> Tensor:
    """Concatenate two (B, C, h, w) maps and average 2×2 windows: (B, 2C, ⌊h/2⌋, ⌊w/2⌋)."""
    return functional.avg_pool2d(torch.cat((rgb, flow), dim=1), kernel_size=2, stride=2)


class PcaFit:
    """Mean and covariance of pooled stream vectors, gathered batch by batch in float64."""

    def __init__(self, stream_channels: int) -> None:
        size = 2 * stream_channels
        self.count = 0
        self.total = torch.zeros(size, dtype=torch.float64)
        self.products = torch.zeros(size, size, dtype=torch.float64)

    def add(self, rgb: Tensor, flow: Tensor) -> None:
        """Take in the stream maps of a batch, (B, C, h, w) each."""
        vectors = pool_streams(rgb.float(), flow.float()).permute(0, 2, 3, 1).flatten(0, 2)
        vectors = vectors.double().cpu()
        self.count += len(vectors)
        self.total += vectors.sum(dim=0)
        self.products.addmm_(vectors.T, vectors)

    def fusion(self, channels: int) -> PcaFusion:
        """Return the fusion whose outputs, over the vectors seen, are white.

        Raises
        ------
        ValueError
            When the vectors seen span fewer than `channels` dimensions.
        """
        size = len(self.total)
        mean = self.total / max(self.count, 1)
        covariance = self.products / max(self.count, 1) - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance)  # Ascending.
        rank = int((values > 1e-10 * values[-1].clamp(min=1e-300)).sum())
        if rank < channels:
            raise ValueError(
                f"{self.count} positions of the training videos span {rank} dimensions, fewer "
                f"than the {channels} channels of the fused map; give more training videos or "
                "fewer channels"
            )
        axes = (vectors[:, -channels:] / values[-channels:].sqrt()).T.flip(0)  # (channels, 2C)
        fusion = PcaFusion(size // 2, channels)
        state = {"project.weight": axes[:, :, None, None], "project.bias": -(axes @ mean)}
        fusion.load_state_dict(state)
        return fusion

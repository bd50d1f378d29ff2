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


def stream_vectors(rgb: Tensor, flow: Tensor) -> Tensor:
    """Pooled stream vectors of a batch of maps, one a position: (B·⌊h/2⌋·⌊w/2⌋, 2C)."""
    return pool_streams(rgb, flow).permute(0, 2, 3, 1).flatten(0, 2)


def fit_pca(vectors: Tensor, channels: int) -> PcaFusion:
    """Return the fusion whose outputs, over the vectors given, are white.

    Parameters
    ----------
    vectors : Tensor (n, 2C)
        From `stream_vectors`, over snippets of training videos only.
    channels : int
        Components kept.

    Raises
    ------
    ValueError
        When the vectors span fewer than `channels` dimensions.
    """
    n, size = vectors.shape
    x = vectors.double()
    mean = x.mean(dim=0)
    x = x - mean
    # The smaller of the two products has the same leading eigenvalues.
    gram = x @ x.T if n < size else x.T @ x
    values, axes = torch.linalg.eigh(gram / n)  # Ascending.
    rank = int((values > 1e-10 * values[-1]).sum())
    if rank < channels:
        raise ValueError(
            f"{n} positions of the training videos span {rank} dimensions, fewer than the "
            f"{channels} channels of the fused map; give more training videos or snippets, a "
            "larger input or fewer channels"
        )
    values, axes = values[-channels:].flip(0), axes[:, -channels:].flip(1)
    if n < size:
        axes = x.T @ axes / (n * values).sqrt()
    rows = (axes / values.sqrt()).T  # (channels, 2C)
    fusion = PcaFusion(size // 2, channels)
    fusion.load_state_dict(
        {"project.weight": rows[:, :, None, None], "project.bias": -(rows @ mean)}
    )
    return fusion

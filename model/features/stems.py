"""A first convolution for flow, made from one for pictures."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Between the directions of two filters that follow each other: no two of 64 are close.
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def mean_stem(weight: Tensor, channels: int) -> Tensor:
    """Initialise a stem of `channels` inputs from an RGB stem ("cross-modality").

    Every input channel gets the mean of the RGB kernels, unscaled. It sees the sum of all flow
    fields and of u and v.

    Parameters
    ----------
    weight : Tensor (64, 3, 7, 7)
        First convolution of an RGB network.
    channels : int
        Input channels: 2L for a stack of L flow fields.

    Returns
    -------
    Tensor (64, channels, 7, 7)

    References
    ----------
    Wang et al., Temporal Segment Networks, 2016, section 3.2. doi:10.1007/978-3-319-46484-8_2
    """
    mean = weight.mean(dim=1, keepdim=True)
    return mean.expand(-1, channels, -1, -1).clone()


def directional_stem(weight: Tensor, channels: int) -> Tensor:
    """Initialise a stem of flow that tells directions apart, from an RGB stem.

    Each filter sees the flow's component along a direction of its own: u gets the colours' mean
    times √2·cos φ, v times √2·sin φ, with φ the filter's number times the golden angle. The mean
    square of the weights over all directions is that of `mean_stem`.

    Differs from the paper: the flow trunk's first convolution, which saw the sum of u and v.

    Parameters
    ----------
    weight : Tensor (64, 3, 7, 7)
        First convolution of an RGB network.
    channels : int
        Input channels: u and v in turn.

    Returns
    -------
    Tensor (64, channels, 7, 7)
    """
    mean = weight.mean(dim=1, keepdim=True)
    angle = GOLDEN_ANGLE * torch.arange(len(weight), dtype=torch.float64)
    along = torch.stack((angle.cos(), angle.sin()), dim=1).mul(math.sqrt(2)).to(weight.dtype)
    return mean * along.repeat(1, channels // 2)[:, :, None, None]

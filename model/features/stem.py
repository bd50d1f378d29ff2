"""From a 3-channel stem to one that takes a flow stack."""

from __future__ import annotations

from torch import Tensor


def inflate_stem(weight: Tensor, channels: int) -> Tensor:
    """Initialise a stem of `channels` inputs from an RGB stem ("cross-modality").

    Every input channel gets the mean of the RGB kernels, unscaled.

    Parameters
    ----------
    weight : Tensor (64, 3, 7, 7)
        First convolution of an RGB network.
    channels : int
        Input channels wanted: 2L for a stack of L flow fields.

    Returns
    -------
    Tensor (64, channels, 7, 7)

    References
    ----------
    Wang et al., Temporal Segment Networks, 2016, section 3.2. doi:10.1007/978-3-319-46484-8_2
    """
    mean = weight.mean(dim=1, keepdim=True)
    return mean.expand(-1, channels, -1, -1).clone()

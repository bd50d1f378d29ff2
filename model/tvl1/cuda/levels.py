"""8-bit levels of flow on the device, the same as those of a flow cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Levels between zero motion and the bound, as in flow caches.
_LEVELS = 127
_ZERO = 128


def quantise(flow: Tensor, bound: float) -> Tensor:
    """Round flow to the 8-bit levels of a flow cache, on the device that it is on.

    Parameters
    ----------
    flow : Tensor (…,) float32
        Displacement in px.
    bound : float
        Displacement in px of the levels 1 and 255.

    Returns
    -------
    Tensor (…,) uint8
        128 + round(flow · 127 / bound), ties to even, within 1 … 255.
    """
    if not bound > 0:
        raise ValueError(f"the bound is a displacement above 0 px, got {bound}")
    # The factor is rounded to float32 first, as `data.cache.flow.quantise` does.
    levels = torch.round(flow * float(np.float32(_LEVELS / bound)))
    return (levels.clamp(-_LEVELS, _LEVELS) + _ZERO).to(torch.uint8)

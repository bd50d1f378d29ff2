"""BatchNorm statistics of a randomly started trunk, from training snippets.

An uncalibrated random flow trunk reaches 2·10⁵ at conv5 and overflows float16; with statistics
of real snippets its maps have a standard deviation near 1.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from model.features.trunk import Trunk


@torch.no_grad()
def calibrate(trunk: Trunk, batches: Iterable[Tensor]) -> None:
    """Set every BatchNorm's mean and variance, in place, to those of the snippets seen.

    Each batch is normalised by its own statistics on the way up; the statistics kept are the
    plain averages over batches, so give batches of one size (8 or more).

    Parameters
    ----------
    trunk : Trunk
        Not folded.
    batches : iterable of Tensor (B, channels, S, S)
        Normalised inputs, as `forward` takes them.

    Raises
    ------
    ValueError
        When there is no batch, or an input leaves a single value a channel.
    """
    norms = [m for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # Cumulative average.
        nn.Module.train(norm, True)
    count = 0
    try:
        for batch in batches:
            trunk(batch)
            count += 1
    finally:
        for norm in norms:
            nn.Module.train(norm, False)
    if count == 0:
        raise ValueError("no snippets to calibrate BatchNorm on")

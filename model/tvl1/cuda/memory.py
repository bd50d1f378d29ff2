"""How much device memory the CUDA engine takes, and how many pairs fit."""

from __future__ import annotations

import torch

from model.tvl1.cuda import layout as cuda_layout
from model.tvl1.cuda.runtime import usable_device
from model.tvl1.options import TVL1Options

# Pairs beyond which a batch gains nothing: so many for each multiprocessor. More would also
# make one launch take seconds on a small device, which drivers of displays do not suffer.
_PAIRS_A_MULTIPROCESSOR = 4
# Share of the free memory that a batch may take; the trunks live beside it.
_MEMORY_SHARE = 0.4


def memory_bytes(height: int, width: int, options: TVL1Options | None, batch: int) -> int:
    """Device memory that a batch of pairs takes at most, in bytes.

    That is each pair's workspace and flow, and the pyramids of its two frames. `CudaTVL1.flows`
    has two batches under way.
    """
    options = options or TVL1Options()
    layout = cuda_layout.plan(height, width, options)
    return batch * (cuda_layout.pair_bytes(layout) + 2 * cuda_layout.frame_bytes(layout))


def fit_batch(
    height: int,
    width: int,
    options: TVL1Options | None = None,
    device: str | torch.device = "cuda",
    share: float = _MEMORY_SHARE,
) -> int:
    """Return how many pairs fit a share of the device's free memory, two batches under way.

    Raises
    ------
    ValueError
        If not even one pair fits.
    """
    target = usable_device(device)
    if target.type != "cuda":
        return _PAIRS_A_MULTIPROCESSOR
    free = torch.cuda.mem_get_info(target)[0]
    free += torch.cuda.memory_reserved(target) - torch.cuda.memory_allocated(target)
    one = memory_bytes(height, width, options, 1)
    fitting = int(share * free) // (2 * one)
    if fitting < 1:
        raise ValueError(
            f"{target}: {free >> 20} MiB free, but TV-L1 at {width}x{height} needs"
            f" {2 * one >> 20} MiB within {share:.0%} of it; use a smaller flow size"
        )
    places = torch.cuda.get_device_properties(target).multi_processor_count
    return min(fitting, _PAIRS_A_MULTIPROCESSOR * places)

"""From a variant's name to its module."""

from __future__ import annotations

import threading

import torch
from torch import nn

from model.ranker.options import RankerOptions
from model.ranker.variants import (
    att_pool,
    blend,
    cbam,
    fc_att,
    full,
    no_att,
    only_htop,
    only_x,
    raan,
    sca,
    video_lstm,
    visual,
)

BUILD = {
    "full": full.build,
    "only_x": only_x.build,
    "only_htop": only_htop.build,
    "fc_att": fc_att.build,
    "no_att": no_att.build,
    "att_pool": att_pool.build,
    "visual": visual.build,
    "cbam": cbam.build,
    "sca": sca.build,
    "video_lstm": video_lstm.build,
    "raan": raan.build,
    "blend": blend.build,
}
# These see the two stream maps, RGB then flow along C, instead of the fused map.
NEED_STREAMS = frozenset({"video_lstm"})
# These choose among the positions of a map, and refuse maps of one.
NEED_POSITIONS = frozenset({"cbam"})
# Initial weights come from PyTorch's one generator: threads that build at once must take turns.
_SEEDED = threading.Lock()


def build(
    options: RankerOptions, channels: int, height: int, width: int, seed: int = 0
) -> nn.Module:
    """Return a freshly initialised ranker; the same seed gives the same weights.

    Parameters
    ----------
    options : RankerOptions
        `variant` chooses the module.
    channels, height, width : int
        Shape of a map.
    seed : int
        Of the initial weights; PyTorch's own generator is left as it was.

    Raises
    ------
    ValueError
        If there is no such variant, or it cannot take maps of this shape.
    """
    if options.variant not in BUILD:
        raise ValueError(f"no variant {options.variant!r}; there are {', '.join(BUILD)}")
    with _SEEDED, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BUILD[options.variant](options, channels, height, width)

"""Ours: the paper's ranker, a linear ranker on pooled maps and the duration, as one score.

Each network of `blend` is the paper's `full` ranker, trained without one part of the training
videos; a new video gets the mean of all of them. `combination.py` says what each cue counts and
what is remembered of the training videos; `blending.py` fits it all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from model.ranker.options import RankerOptions
from model.ranker.pooled import STATISTICS, Array, Pooling
from model.ranker.recurrent import Output, RecurrentRanker
from model.ranker.variants import full

#: The cues, in the order of `Blend.shares`.
CUES = ("network", "pooled", "duration")


class Blend(nn.Module):
    """A score that is the sum of what four terms say of a video.

    Parameters
    ----------
    members : list of RecurrentRanker
        The networks.
    channels : int
        C.

    Attributes
    ----------
    member_scale : Tensor (M, 2)
        Mean, and the inverse of the scale, of each network's scores.
    network, duration : Tensor (3,)
        Mean, inverse of the scale, and weight of the networks' mean and of the log duration.
    pooled : Tensor (3, 4·C)
        The same of each statistic of the maps.
    remembered : Tensor (V, 4·C), residual : Tensor (V,)
        Standardised statistics of the training videos, by which they are recognised, and what is
        added to their scores.
    reach : Tensor (1,)
        Distance within which a video counts as that training video.
    shares : Tensor (3,)
        How much each of `CUES` moves the score, as a share of all.
    """

    member_scale: Tensor
    network: Tensor
    duration: Tensor
    pooled: Tensor
    remembered: Tensor
    residual: Tensor
    reach: Tensor
    shares: Tensor

    def __init__(self, members: list[RecurrentRanker], channels: int) -> None:
        super().__init__()
        size = len(STATISTICS) * channels
        self.members = nn.ModuleList(members)
        self.register_buffer("member_scale", torch.tensor([[0.0, 1.0]]).repeat(len(members), 1))
        self.register_buffer("network", torch.tensor([0.0, 1.0, 1.0]))
        self.register_buffer("duration", torch.zeros(3))
        self.register_buffer("pooled", torch.zeros(3, size))
        self.register_buffer("remembered", torch.zeros(0, size))
        self.register_buffer("residual", torch.zeros(0))
        self.register_buffer("reach", torch.zeros(1))
        self.register_buffer("shares", torch.zeros(len(CUES)))

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Output:
        """Score videos of which only the snippets x (B, T, C, H, W) are known, not the duration."""
        outputs = []
        for each in x:
            pooling = Pooling()
            pooling.add(each.detach().cpu().numpy())
            outputs.append(self.judge(each[None], generator, pooling.features(), None))
        maps = [out.attention for out in outputs if out.attention is not None]
        return Output(
            torch.cat([out.score for out in outputs]),
            torch.cat([out.running for out in outputs]),
            torch.cat(maps) if maps else None,
        )

    def judge(
        self,
        x: Tensor,
        generator: torch.Generator | None,
        statistics: Array,
        seconds: float | None,
    ) -> Output:
        """Score one video; the running score is the networks' with all other terms added.

        Parameters
        ----------
        x : Tensor (1, T, C, H, W)
            Snippets that the networks see.
        statistics : ndarray (4·C,)
            Pooled over all snippets.
        seconds : float or None
            Duration; None counts as the training videos' mean.
        """
        outputs = [member(x, generator) for member in self.members]
        running = torch.stack([out.running for out in outputs]).double()  # (M, 1, T)
        mean, inverse = self.member_scale.double().unbind(1)
        running = ((running - mean[:, None, None]) * inverse[:, None, None]).mean(dim=0)
        running = _weighed(running, self.network) + self._others(statistics, seconds)
        attention = [out.attention for out in outputs if out.attention is not None]
        return Output(
            running[:, -1], running, torch.stack(attention).mean(dim=0) if attention else None
        )

    def _others(self, statistics: Array, seconds: float | None) -> Tensor:
        """Return what pooled maps, duration and memory say together, a float64 number."""
        mean, inverse, weight = self.pooled.double()
        z = (torch.from_numpy(statistics).to(mean) - mean) * inverse
        total = (z * weight).sum() + self._memory(z)
        if seconds is not None and seconds > 0:
            total = total + _weighed(mean.new_tensor(math.log(seconds)), self.duration)
        return total

    def _memory(self, z: Tensor) -> Tensor:
        """Return what is added to the score of the training video that z (4·C,) belongs to."""
        if not len(self.remembered):
            return z.new_zeros(())
        distance = (self.remembered.double() - z).square().mean(dim=1).sqrt()
        nearest = distance.argmin()
        near = torch.exp(-((distance[nearest] / self.reach[0].double()) ** 2))
        return self.residual[nearest].double() * near

    def in_words(self) -> str:
        """Return how much each cue moves the score of a video."""
        network, pooled, duration = (f"{100 * share:.0f} %" for share in self.shares.tolist())
        direction = "longer is better" if self.duration[2] > 0 else "longer is worse"
        if not self.duration[2]:
            direction = "it does not count"
        return (
            f"what moves the score: attention networks {network}, pooled maps {pooled}, duration "
            f"{duration} ({direction})"
        )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **more: Any
    ) -> None:
        """Take as many remembered videos as the weights hold."""
        videos = state_dict.get(f"{prefix}residual")
        if videos is not None and videos.ndim == 1:
            self.remembered = self.remembered.new_empty(len(videos), self.remembered.shape[1])
            self.residual = self.residual.new_empty(len(videos))
        super()._load_from_state_dict(state_dict, prefix, *args, **more)


def _weighed(value: Tensor, scale: Tensor) -> Tensor:
    mean, inverse, weight = scale.double()
    return (value - mean) * inverse * weight


def build(options: RankerOptions, channels: int, height: int, width: int) -> Blend:
    """Return the ranker for maps of C×H×W, its cues not yet weighed."""
    members = [full.build(options, channels, height, width) for _ in range(options.members)]
    return Blend(members, channels)

"""Rival: rank-aware temporal attention over pooled features.

Doughty, Mayol-Cuevas and Damen, "The pros and cons: rank-aware temporal attention for skill
determination in long videos", CVPR 2019, doi:10.1109/CVPR.2019.00805, on the average of each of
our maps in place of their I3D features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from model.ranker.attention import by_position
from model.ranker.loss import ranking_loss
from model.ranker.options import RankerOptions
from model.ranker.recurrent import Output

ATTENTION_RATE = 0.1  # learning rate of the attention relative to that of the scores (RAAN's code)


class TemporalFilters(nn.Module):
    """K attention filters over time: a two-layer network each, then softmax over the snippets."""

    def __init__(self, channels: int, inner_size: int, filters: int) -> None:
        super().__init__()
        self.inner = nn.Linear(channels, inner_size * filters)
        self.outer = nn.Parameter(torch.empty(filters, inner_size))
        self.bias = nn.Parameter(torch.zeros(filters))
        nn.init.uniform_(self.outer, -(inner_size**-0.5), inner_size**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return weights (B, K, T), each filter summing to 1 over time, from x (B, T, C)."""
        inner = torch.relu(self.inner(x)).unflatten(2, self.outer.shape)  # (B, T, K, inner)
        return torch.softmax((inner * self.outer).sum(dim=3) + self.bias, dim=1).transpose(1, 2)


class Branch(nn.Module):
    """One skill branch: its filters, and a linear score of the features that they pick."""

    def __init__(self, channels: int, inner_size: int, filters: int) -> None:
        super().__init__()
        self.filters = TemporalFilters(channels, inner_size, filters)
        self.fc = nn.Linear(channels, 1)

    def scores(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return each filter's score (B, K) of features (B, T, C) with weights (B, K, T)."""
        return self.fc(weights @ x).squeeze(-1)

    def frozen_scores(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return the same with the linear score held fixed, to train the weights alone."""
        return (weights @ x) @ self.fc.weight.detach()[0] + self.fc.bias.detach()

    def contributions(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return what each snippet adds to the branch's score without its bias, (B, T)."""
        return weights.mean(dim=1) * (x @ self.fc.weight[0])


@dataclass
class BranchOutput(Output):
    """What the losses need, apart from the score.

    Attributes
    ----------
    features : Tensor
        (B, T, C) pooled maps.
    high, low : Tensor
        (B, K, T) weights of the filters of the high- and low-skill branch.
    """

    features: Tensor = field(default_factory=lambda: torch.empty(0))
    high: Tensor = field(default_factory=lambda: torch.empty(0))
    low: Tensor = field(default_factory=lambda: torch.empty(0))


class RankAwareAttention(nn.Module):
    """Two branches that attend to what shows high and low skill; a video's score is their sum.

    A third branch weighs all snippets alike: the other two must beat it by a margin.

    Parameters
    ----------
    channels : int
        C.
    options : RankerOptions
        Filters, inner size, margins and weight of the diversity loss.
    """

    def __init__(self, channels: int, options: RankerOptions) -> None:
        super().__init__()
        sizes = (channels, options.temporal_size, options.temporal_filters)
        self.high = Branch(*sizes)
        self.low = Branch(*sizes)
        self.uniform = nn.Linear(channels, 1)
        self.disparity_margin = options.disparity_margin
        self.rank_aware_margin = options.rank_aware_margin
        self.diversity_weight = options.diversity_weight

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> BranchOutput:
        """Score videos (B, T, C, H, W); there is no spatial attention to report."""
        features = by_position(x).mean(dim=2)
        high, low = self.high.filters(features), self.low.filters(features)
        each = self.high.contributions(features, high) + self.low.contributions(features, low)
        running = each.cumsum(dim=1) + self.high.fc.bias + self.low.fc.bias
        return BranchOutput(running[:, -1], running, None, features, high, low)

    def loss(self, out: Output, pairs: Tensor, margin: float) -> Tensor:
        """Return the sum of RAAN's losses over (P, 2) pairs of positions.

        The ranking losses train the linear scores with the attention held fixed; disparity,
        rank-aware and diversity losses train the attention with the scores held fixed.
        Differs from RAAN's code: it takes these two steps in turn, here they are one.
        """
        if not isinstance(out, BranchOutput):
            raise ValueError(f"expected this ranker's own output, got {type(out).__name__}")
        uniform = self.uniform(out.features.mean(dim=1)).squeeze(-1)
        loss = ranking_loss(uniform, pairs, margin)
        for branch, weights in ((self.high, out.high), (self.low, out.low)):
            scores = branch.scores(out.features, weights.detach()).mean(dim=1)
            loss = loss + ranking_loss(scores, pairs, margin)
        return loss + self._attention_loss(out, uniform.detach(), pairs, margin)

    def _attention_loss(
        self, out: BranchOutput, uniform: Tensor, pairs: Tensor, margin: float
    ) -> Tensor:
        high = self.high.frozen_scores(out.features, out.high)
        low = self.low.frozen_scores(out.features, out.low)
        better, worse = pairs.unbind(1)
        base = uniform[better] - uniform[worse]
        disparity = self.disparity_margin * margin
        rank_aware = self.rank_aware_margin * margin
        return (
            _must_lead(high[better] - high[worse], base, disparity)
            + _must_lead(low[better] - low[worse], base, disparity)
            + _must_lead(high[better] - low[worse], base, rank_aware)
            + self.diversity_weight * 2 * (_overlap(out.high) + _overlap(out.low))
        )

    def rates(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: attention learns ten times more slowly."""
        attention = [*self.high.filters.parameters(), *self.low.filters.parameters()]
        known = {id(each) for each in attention}
        rest = [each for each in self.parameters() if id(each) not in known]
        return [
            {"params": rest, "lr": learning_rate},
            {"params": attention, "lr": learning_rate * ATTENTION_RATE},
        ]


def _must_lead(lead: Tensor, base: Tensor, margin: float) -> Tensor:
    """Return by how much the worst filter's lead (P, K) misses the uniform lead plus a margin."""
    return torch.clamp(margin - lead.amin(dim=1) + base, min=0).mean()


def _overlap(weights: Tensor) -> Tensor:
    """Return the diversity loss ‖AᵀA − I‖ of filters (B, K, T), averaged over videos."""
    gram = weights @ weights.transpose(1, 2)
    identity = torch.eye(weights.shape[1], dtype=gram.dtype, device=gram.device)
    return torch.linalg.matrix_norm(gram - identity).mean()


def build(options: RankerOptions, channels: int, height: int, width: int) -> RankAwareAttention:
    """Return the ranker for maps of C×H×W."""
    return RankAwareAttention(channels, options)

"""ConvFusion learnt with the ranker from pairs, as the paper trains it (section 3.4).

Memory is that of one video, not of a batch: fused maps are computed first without a graph, the
loss is taken back to them, and then video by video through ConvFusion. The gradients are those of
the whole graph.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from model.features.fusion import ConvFusion
from model.ranker.epochs import EpochState, Record, validation_record
from model.ranker.loss import pair_loss
from model.ranker.optimizer import Optimizer
from model.ranker.options import TrainOptions
from model.ranker.scoring import pair_accuracy
from model.ranker.videos import SnippetRanges

# Gives the stream maps (n, 2048, h, w) of some rows, RGB and flow, any floating type.
ReadStreams = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass
class JointState(EpochState):
    """All that a fit needs to continue after an interruption exactly as without one."""

    fusion: dict[str, Tensor] = field(default_factory=dict)
    ranker: dict[str, Tensor] = field(default_factory=dict)
    best_fusion: dict[str, Tensor] = field(default_factory=dict)


class JointFit:
    """One fit of ConvFusion and ranker.

    Parameters
    ----------
    fusion : ConvFusion
        Start; trained in place.
    ranker : nn.Module
        From `model.ranker.build.build`; trained in place.
    read : callable
        Stream maps of given rows.
    ranges : SnippetRanges
        Rows of each video's segments.
    train : TrainOptions
        `protocol` is ignored: the epoch is chosen by validation pairs where there are any.
    seed : int
        Of snippet draws and order of pairs.
    device : str
    """

    def __init__(
        self,
        fusion: ConvFusion,
        ranker: nn.Module,
        read: ReadStreams,
        ranges: SnippetRanges,
        train: TrainOptions,
        *,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self.fusion = fusion.requires_grad_(True).to(device)
        self.ranker = ranker.to(device)
        self.read = read
        self.ranges = ranges
        self.train = train
        self.device = device
        self.generator = torch.Generator().manual_seed(seed)
        self.parameters = [*self.fusion.parameters(), *self.ranker.parameters()]
        self.optimizer = Optimizer([{"params": self.parameters, "lr": train.learning_rate}], train)
        self.state = JointState()

    def resume(self, state: JointState) -> None:
        """Continue from a state of this same fit."""
        self.state = state
        self.fusion.load_state_dict(state.fusion)
        self.ranker.load_state_dict(state.ranker)
        self.optimizer.load_state_dict(state.optimizer)
        self.generator.set_state(state.generator)

    def run(
        self,
        train_pairs: Tensor,
        validation_pairs: Tensor | None,
        on_epoch: Callable[[JointState], None] = lambda state: None,
        on_step: Callable[[], object] = lambda: None,
    ) -> JointState:
        """Fit; return the last state, with the best epoch's ConvFusion in `best_fusion`.

        Parameters
        ----------
        train_pairs, validation_pairs : Tensor (P, 2) int64
            Rows (better, worse) of the videos.
        on_epoch, on_step
            Called after every epoch and every step.
        """
        while not self.state.finished(self.train, validation_pairs is not None):
            record = {"epoch": float(self.state.epoch + 1)} | self._epoch(train_pairs, on_step)
            if validation_pairs is not None:
                record |= self._validate(validation_pairs)
            self._enter(record)
            on_epoch(self.state)
        return self.state

    def fuse(self, rows: Tensor) -> Tensor:
        """Fused maps (n, C, H, W) of some rows, float32."""
        rgb, flow = self.read(rows)
        return self.fusion(rgb.to(self.device).float(), flow.to(self.device).float())

    def step(self, rows: Tensor, pairs: Tensor) -> tuple[float, Tensor]:
        """Take one step on the videos whose rows (B, N) are given; return loss and scores."""
        with torch.no_grad():
            x = torch.stack([self.fuse(each) for each in rows])
        x.requires_grad_(True)
        out = self.ranker(x, self.generator)
        loss = pair_loss(self.ranker, out, pairs.to(self.device), self.train.margin)
        self.optimizer.zero_grad()
        loss.backward()
        if x.grad is not None:
            for each, grad in zip(rows, x.grad, strict=True):
                self.fuse(each).backward(grad)
        if self.train.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.train.clip_norm)
        self.optimizer.step()
        return loss.item(), out.score.detach().cpu()

    def _epoch(self, pairs: Tensor, on_step: Callable[[], object]) -> Record:
        self.fusion.train()
        self.ranker.train()
        rows = self.ranges.draw(self.generator)
        total = right = 0.0
        order = torch.randperm(len(pairs), generator=self.generator)
        for part in order.split(self.train.batch_pairs or len(pairs)):
            batch = pairs[part]
            # Each distinct video is scored once, however many pairs name it.
            distinct, position = torch.unique(batch, return_inverse=True)
            loss, score = self.step(rows[distinct], position)
            total += loss * len(batch)
            right += pair_accuracy(score, position) * len(batch)
            on_step()
        return {"train_loss": total / len(pairs), "train_accuracy": right / len(pairs)}

    @torch.no_grad()
    def _validate(self, pairs: Tensor) -> Record:
        self.ranker.eval()
        distinct, position = torch.unique(pairs, return_inverse=True)
        parts = []
        for rows in self.ranges.test[distinct]:
            generator = torch.Generator().manual_seed(0)
            parts.append(self.ranker(self.fuse(rows)[None], generator).score.cpu())
        return validation_record(torch.cat(parts), position, self.train.margin)

    def _enter(self, record: Record) -> None:
        state = self.state
        state.fusion, state.ranker = self.fusion.state_dict(), self.ranker.state_dict()
        if state.enter(record, self.optimizer, self.generator):
            state.best_fusion = copy.deepcopy(state.fusion)

"""Fit a ranker to pairs of videos whose maps are cached."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from model.ranker.build import build
from model.ranker.epochs import EpochState, Record, validation_record
from model.ranker.loss import pair_loss
from model.ranker.optimizer import Optimizer
from model.ranker.options import RankerOptions, TrainOptions
from model.ranker.recurrent import Output
from model.ranker.scoring import pair_accuracy, ranges_of
from model.ranker.videos import VideoMaps

# Videos scored at once without gradients; bounds the memory of one pass.
_CHUNK = 32


@runtime_checkable
class OwnRates(Protocol):
    """A ranker whose parts learn at different rates."""

    def rates(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups."""


@dataclass
class FitState(EpochState):
    """All that `fit` needs to continue after an interruption exactly as without one.

    Attributes
    ----------
    model, best_model : dict
        State dictionaries of the ranker now, and of the chosen epoch.
    """

    model: dict[str, Any] = field(default_factory=dict)
    best_model: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FitResult:
    """A fitted ranker.

    Attributes
    ----------
    model : nn.Module
        With the weights of the chosen epoch, in evaluation mode, on the CPU.
    history : list of dict
        For each epoch: epoch, train_loss, train_accuracy (on the snippets drawn, before the
        step) and, with validation pairs, validation_loss and validation_accuracy.
    best_epoch : int
        The chosen epoch, counted from 1.
    """

    model: nn.Module
    history: list[Record]
    best_epoch: int


@dataclass(frozen=True)
class Ties:
    """Pairs whose videos were found equal.

    Attributes
    ----------
    pairs : Tensor
        (T, 2) int64 rows of the videos, T > 0.
    weight : float
        Of a tie against a decided pair; half of it asks for each order, so that the scores are
        drawn together.
    """

    pairs: Tensor
    weight: float


def fit(
    videos: VideoMaps,
    train_pairs: Tensor,
    validation_pairs: Tensor | None,
    ranker: RankerOptions,
    train: TrainOptions,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    ties: Ties | None = None,
    state: FitState | None = None,
    on_state: Callable[[FitState], None] | None = None,
) -> FitResult:
    """Train a ranker; the same arguments give the same weights, bit for bit, on one thread.

    The epoch with the lowest loss on the validation pairs is chosen (then the earlier one); with
    `protocol="authors"` the one of highest accuracy. Without validation pairs, the last.

    Parameters
    ----------
    videos : VideoMaps
        Maps of all videos that the pairs name.
    train_pairs, validation_pairs : Tensor
        (P, 2) int64 rows (better, worse) of `videos`. Give no validation pairs for
        `protocol="last"`, the test pairs for `protocol="authors"`.
    seed : int
        Of initial weights, snippet draws and order of pairs.
    ties : Ties, optional
        Pairs to train on that were found equal.
    state : FitState, optional
        Continue from here.
    on_state : callable, optional
        Called after each epoch with a state to continue from; valid until the next epoch.

    Raises
    ------
    ValueError
        If there are no training pairs, they name a missing video, or the loss or the chosen
        weights become infinite or NaN.
    """
    if ranker.variant == "blend":
        raise ValueError("blend is fitted by blending.fit_variant")
    _check_pairs(train_pairs, len(videos.keys), "training")
    if validation_pairs is not None:
        _check_pairs(validation_pairs, len(videos.keys), "validation")
    if ties is not None:
        _check_pairs(ties.pairs, len(videos.keys), "tied")
    training = _Training(videos, ranker, train, seed=seed, device=device)
    state = state or FitState()
    if state.epoch:
        training.resume(state)
    while not state.finished(train, validation_pairs is not None):
        record = {"epoch": float(state.epoch + 1)} | training.epoch(train_pairs, ties)
        if validation_pairs is not None:
            record |= training.validate(validation_pairs)
        state.model = training.model.state_dict()
        by_accuracy = train.protocol == "authors"
        if state.enter(record, training.optimizer, training.generator, by_accuracy=by_accuracy):
            state.best_model = copy.deepcopy(state.model)
        if on_state is not None:
            on_state(state)
    # No loss follows the last step, so it would not show there.
    if not all(bool(value.isfinite().all()) for value in state.best_model.values()):
        raise _diverged("weights became infinite or NaN", train)
    # The state refers to the model's own tensors, and must keep those of the last epoch.
    state.model = copy.deepcopy(state.model)
    training.model.load_state_dict(state.best_model)
    return FitResult(training.model.cpu().eval(), state.history, state.best_epoch)


class _Training:
    """The ranker, its optimiser and the random draws of one fit."""

    def __init__(
        self,
        videos: VideoMaps,
        ranker: RankerOptions,
        train: TrainOptions,
        *,
        seed: int,
        device: torch.device | str,
    ) -> None:
        self.videos = videos
        self.train = train
        self.device = device
        channels, height, width = videos.maps.shape[1:]
        self.model = model = build(ranker, channels, height, width, seed).to(device)
        rate = train.learning_rate
        alike = [{"params": model.parameters(), "lr": rate}]
        groups = model.rates(rate) if isinstance(model, OwnRates) else alike
        self.optimizer = Optimizer(groups, train)
        self.generator = torch.Generator().manual_seed(seed)
        self.ranges = ranges_of(videos, ranker.segments, train.sampling)

    def resume(self, state: FitState) -> None:
        """Continue from a state of this same fit."""
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.generator.set_state(state.generator)

    def epoch(self, pairs: Tensor, ties: Ties | None) -> Record:
        """Take one step a batch of pairs, on freshly drawn snippets.

        Every batch has its share of the ties; the loss and the accuracy that are recorded are
        those of the decided pairs.
        """
        self.model.train()
        rows = self.ranges.draw(self.generator)
        total, right = 0.0, 0.0
        batches = list(self._batches(pairs))
        shares = _shares(ties, len(batches))
        for batch, tied in zip(batches, shares, strict=True):
            # Each distinct video is scored once, however many pairs name it.
            named = batch if tied is None else torch.cat([batch, tied.pairs])
            distinct, places = torch.unique(named, return_inverse=True)
            position = places[: len(batch)]
            out = self.model(self.videos.gather(rows[distinct], self.device), self.generator)
            loss = pair_loss(self.model, out, position.to(self.device), self.train.margin)
            decided = loss.item()
            if tied is not None:
                equal = places[len(batch) :].to(self.device)
                loss = self._with_ties(out, loss, len(batch), equal, tied.weight)
            if not torch.isfinite(loss):
                raise _diverged(f"the loss became {loss.item():g}", self.train)
            self.optimizer.zero_grad()
            loss.backward()
            if self.train.clip_norm:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.train.clip_norm)
            self.optimizer.step()
            total += decided * len(batch)
            right += pair_accuracy(out.score.detach().cpu(), position) * len(batch)
        return {"train_loss": total / len(pairs), "train_accuracy": right / len(pairs)}

    def _with_ties(
        self, out: Output, loss: Tensor, decided: int, ties: Tensor, weight: float
    ) -> Tensor:
        """Return the mean loss over decided pairs and ties, of which half asks for each order."""
        ways = [pair_loss(self.model, out, way, self.train.margin) for way in (ties, ties.flip(1))]
        share = weight * len(ties)
        return (decided * loss + share * (ways[0] + ways[1]) / 2) / (decided + share)

    def validate(self, pairs: Tensor) -> Record:
        """Score the videos of validation pairs on the snippets that a test sees."""
        self.model.eval()
        distinct, position = torch.unique(pairs, return_inverse=True)
        with torch.inference_mode():
            scores = [self._test_scores(part) for part in distinct.split(_CHUNK)]
        return validation_record(torch.cat(scores).cpu(), position, self.train.margin)

    def _test_scores(self, videos: Tensor) -> Tensor:
        maps = self.videos.gather(self.ranges.test[videos], self.device)
        return self.model(maps, torch.Generator().manual_seed(0)).score

    def _batches(self, pairs: Tensor) -> Iterator[Tensor]:
        size = self.train.batch_pairs
        if size is None or size >= len(pairs):
            yield pairs
            return
        order = torch.randperm(len(pairs), generator=self.generator)
        for part in order.split(size):
            yield pairs[part]


def _shares(ties: Ties | None, batches: int) -> list[Ties | None]:
    """Return the ties of each batch; None where a batch has none."""
    if ties is None:
        return [None] * batches
    parts = [ties.pairs[start::batches] for start in range(batches)]
    return [Ties(part, ties.weight) if len(part) else None for part in parts]


def _diverged(how: str, train: TrainOptions) -> ValueError:
    return ValueError(
        f"training diverged: {how} at a learning rate of {train.learning_rate:g}; lower it, or "
        "clip gradients"
    )


def _check_pairs(pairs: Tensor, n_videos: int, what: str) -> None:
    if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) == 0:
        raise ValueError(f"{what} pairs: expected (P, 2) with P > 0, got {tuple(pairs.shape)}")
    if int(pairs.min()) < 0 or int(pairs.max()) >= n_videos:
        raise ValueError(
            f"{what} pairs: expected rows 0 … {n_videos - 1}, "
            f"got {int(pairs.min())} … {int(pairs.max())}"
        )

"""Fit `blend`: its networks, each without one part of the videos, and what each cue counts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.ranker.build import build
from model.ranker.combination import combine, standard_by_pairs
from model.ranker.epochs import Record
from model.ranker.options import RankerOptions, TrainOptions, own_protocol
from model.ranker.pairwise import Array, Rows, held_out_pairs, renumber, video_folds
from model.ranker.pooled import pooled_features
from model.ranker.scoring import score
from model.ranker.training import FitResult, FitState, Ties, fit
from model.ranker.variants.blend import CUES, Blend
from model.ranker.videos import VideoMaps

# A video counts as a training video within this share of the usual distance between two of them.
_REACH = 0.1


def fit_variant(
    videos: VideoMaps,
    train_pairs: Tensor,
    validation_pairs: Tensor | None,
    ranker: RankerOptions,
    train: TrainOptions,
    *,
    seed: int,
    groups: Sequence[str] | None = None,
    device: torch.device | str = "cpu",
    ties: Ties | None = None,
    state: FitState | None = None,
    on_state: Callable[[FitState], None] | None = None,
) -> FitResult:
    """Train a ranker of any variant; see `training.fit` for the parameters.

    `blend` takes no validation pairs: they are fitted too. Its networks learn from ties, the
    weights of its cues from decided pairs alone.

    Parameters
    ----------
    groups : sequence of str, optional
        Subject of each video of `videos`, whose videos `blend` holds out together.
    """
    if ranker.variant != "blend":
        return fit(
            videos,
            train_pairs,
            validation_pairs,
            ranker,
            train,
            seed=seed,
            device=device,
            ties=ties,
            state=state,
            on_state=on_state,
        )
    pairs = train_pairs if validation_pairs is None else torch.cat([train_pairs, validation_pairs])
    return _Blending(videos, pairs.numpy(), ranker, train, seed, groups, device, ties).run(
        state or FitState(), on_state
    )


def blend_epochs(ranker: RankerOptions, train: TrainOptions) -> int:
    """Return how many epochs a fit has at most, over all networks of a variant."""
    return train.epochs * (ranker.members if ranker.variant == "blend" else 1)


@dataclass(frozen=True)
class _Network:
    """One trained network, with the videos that it has not seen and its scores of all videos."""

    model: nn.Module
    unseen: Rows
    scores: Array
    mean: float
    inverse: float

    @property
    def standardised(self) -> Array:
        return (self.scores - self.mean) * self.inverse


class _Blending:
    """One fit of `blend`."""

    def __init__(
        self,
        videos: VideoMaps,
        pairs: Rows,
        ranker: RankerOptions,
        train: TrainOptions,
        seed: int,
        groups: Sequence[str] | None,
        device: torch.device | str,
        ties: Ties | None,
    ) -> None:
        self.ties = ties
        self.videos = videos
        self.pairs = pairs
        self.ranker = ranker
        self.train = own_protocol(ranker, train)
        self.seed = seed
        self.device = device
        parts = video_folds(pairs, ranker.members, seed, groups)
        self.parts = [part for part in parts if len(held_out_pairs(pairs, part)[0])]
        if len(self.parts) < 2:
            raise ValueError(
                f"blend holds out a part of the videos at a time, and {len(pairs)} pairs are too "
                "few for that; train another variant"
            )

    def run(self, state: FitState, on_state: Callable[[FitState], None] | None) -> FitResult:
        """Train the networks that a state does not hold yet, and weigh the cues."""
        finished = _split(state.best_model)
        history: list[Record] = state.history[: len(finished) * self.train.epochs]
        networks = []
        for number in range(self.ranker.members):
            if number < len(finished):
                model = self._rebuilt(finished[number])
            else:
                model, records = self._fit(number, finished, history, on_state)
                finished.append(copy.deepcopy(model.state_dict()))
                history = [*history, *records]
                if on_state is not None:
                    on_state(_state(finished, history, len(history)))
            networks.append(self._judged(number, model))
        blend = self._combined(networks)
        epochs = [history[first :: self.train.epochs] for first in range(self.train.epochs)]
        means = [{name: _mean(each, name) for name in each[0]} for each in epochs if each]
        return FitResult(blend.eval(), means, len(means))

    def _fit(
        self,
        number: int,
        finished: list[dict[str, Tensor]],
        history: list[Record],
        on_state: Callable[[FitState], None] | None,
    ) -> tuple[nn.Module, list[Record]]:
        def after(state: FitState) -> None:
            if on_state is not None and state.epoch < self.train.epochs:
                records = [*history, *state.history]
                on_state(_state(finished, records, len(records)))

        fitted = held_out_pairs(self.pairs, self._part(number))[0]
        result = fit(
            self.videos,
            torch.from_numpy(fitted),
            None,
            replace(self.ranker, variant="full"),
            self.train,
            seed=(self.seed * 1_000_003 + number) % 2**63,
            device=self.device,
            ties=self._ties_without(self._part(number)),
            on_state=after,
        )
        return result.model, result.history

    def _ties_without(self, part: Rows) -> Ties | None:
        if self.ties is None:
            return None
        kept = held_out_pairs(self.ties.pairs.numpy(), part)[0]
        return Ties(torch.from_numpy(kept), self.ties.weight) if len(kept) else None

    def _part(self, number: int) -> Rows:
        return self.parts[number % len(self.parts)]

    def _rebuilt(self, weights: dict[str, Tensor]) -> nn.Module:
        shape: tuple[int, int, int] = tuple(self.videos.maps.shape[1:])  # type: ignore[assignment]
        model = build(replace(self.ranker, variant="full"), *shape)
        model.load_state_dict(weights)
        return model

    def _judged(self, number: int, model: nn.Module) -> _Network:
        """Score all videos with a network, standardised on the pairs that it was fitted to."""
        sampling, segments = self.train.sampling, self.ranker.segments
        scores = score(model, self.videos, segments, sampling, self.device).score
        part = self._part(number)
        mean, scale = _standard(scores, held_out_pairs(self.pairs, part)[0])
        return _Network(model.cpu(), part, scores, mean, 1 / scale)

    def _combined(self, networks: Sequence[_Network]) -> Blend:
        """Weigh the cues on the training videos, and gather all that a score takes."""
        named = np.unique(self.pairs)
        pairs = renumber(self.pairs, named)
        honest = _honest(networks, len(self.videos.keys))[named]
        mean, scale = _standard(honest, pairs)
        statistics = pooled_features(self.videos)[named]
        centre, spread = standard_by_pairs(statistics, pairs)
        z = (statistics - centre) / spread
        duration = self._log_duration(named)
        middle, width = (0.0, np.inf) if duration is None else _standard(duration, pairs)
        combination = combine(
            (honest - mean) / scale,
            z,
            None if duration is None else (duration - middle) / width,
            pairs,
        )
        blend = self._built(networks)
        blend.network = _vector(mean, 1 / scale, combination.network)
        blend.duration = _vector(middle, 1 / width, combination.duration)
        blend.pooled = _vector(centre, 1 / spread, combination.pooled)
        blend.shares = _vector(*(combination.shares[name] for name in CUES))
        if not all(bool(value.isfinite().all()) for value in blend.state_dict().values()):
            raise ValueError("training diverged: weights became infinite or NaN")
        self._remember(blend, named, z, combination.score)
        return blend

    def _log_duration(self, named: Rows) -> Array | None:
        seconds = self.videos.seconds
        if not self.ranker.duration or seconds is None or not bool((seconds > 0).all()):
            return None
        return np.log(seconds.numpy()[named])

    def _built(self, networks: Sequence[_Network]) -> Blend:
        shape: tuple[int, int, int] = tuple(self.videos.maps.shape[1:])  # type: ignore[assignment]
        blend = build(self.ranker, *shape)
        if not isinstance(blend, Blend):
            raise TypeError(f"expected a Blend, got {type(blend).__name__}")
        for member, network in zip(blend.members, networks, strict=True):
            member.load_state_dict(network.model.state_dict())
        blend.member_scale = _vector(*([each.mean, each.inverse] for each in networks))
        return blend.to(self.device)

    def _remember(self, blend: Blend, named: Rows, z: Array, scores: Array) -> None:
        """Keep what the training videos' scores have beyond what the cues give them."""
        sampling, segments = self.train.sampling, self.ranker.segments
        plain = score(blend, self.videos, segments, sampling, self.device).score[named]
        blend.cpu()
        blend.remembered = _vector(z)[0]
        blend.residual = _vector(scores - plain)[0]
        blend.reach = _vector(_REACH * _usual_distance(z))


def _honest(networks: Sequence[_Network], videos: int) -> Array:
    """Return the mean score of each video (V,) by the networks that have not seen it; else 0."""
    total, count = np.zeros(videos), np.zeros(videos)
    for network in networks:
        total[network.unseen] += network.standardised[network.unseen]
        count[network.unseen] += 1
    return total / np.maximum(count, 1)


def _usual_distance(z: Array) -> float:
    """Return the median distance of a video's statistics to the nearest other ones; never 0."""
    square = (z**2).mean(axis=1)
    distance = square[:, None] + square - 2 * z @ z.T / z.shape[1]
    np.fill_diagonal(distance, np.inf)
    nearest = np.sqrt(np.maximum(distance.min(axis=1), 0.0))
    apart = nearest[nearest > 1e-6]
    return float(np.median(apart)) if len(apart) else 1e-3


def _standard(scores: Array, pairs: Rows) -> tuple[float, float]:
    """Return mean and scale of scores (V,) over the videos of some pairs."""
    named = np.unique(pairs)
    mean, scale = standard_by_pairs(scores[named][:, None], renumber(pairs, named))
    return float(mean[0]), float(scale[0])


def _vector(*values: Any) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64)).float()


def _state(finished: list[dict[str, Tensor]], history: list[Record], epoch: int) -> FitState:
    """Return a state to go on from, which holds whole networks."""
    weights = {
        f"{number}.{name}": value
        for number, each in enumerate(finished)
        for name, value in each.items()
    }
    return FitState(epoch=epoch, best_epoch=epoch, history=history, best_model=weights)


def _split(weights: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the networks of a state, each by its own names."""
    networks: dict[int, dict[str, Tensor]] = {}
    for name, value in weights.items():
        number, _, own = name.partition(".")
        networks.setdefault(int(number), {})[own] = value
    return [networks[number] for number in sorted(networks)]


def _mean(records: Sequence[Record], name: str) -> float:
    return float(np.mean([record[name] for record in records]))

"""Counterbalancing: which video gets which skill, so that no single number gives skill away.

Rank correlations that arise by chance among a few dozen videos reach .3, and would let a ranker
score well by length or brightness alone. Of several hundred random assignments, the one with the
smallest largest |rho| is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from data.synthetic.motion import Trajectory, trajectory
from data.synthetic.noise import Floats, Stream, stream
from data.synthetic.nuisance import Nuisance
from data.synthetic.options import SkillEffects, SyntheticOptions
from data.synthetic.scene import Scene

_LEVELS = np.linspace(0.05, 0.95, 4)  # skills at which the mean flow of each video is computed
_FINALISTS = 12  # assignments whose mean flow is computed at the very skills they give
_LOOKS = 3  # frames drawn a video to learn its brightness
_LOOK_SIZE = 48  # pixels; brightness needs no detail
# Share of the picture that moves with the hand as TV-L1 measures it. The hand covers .05, but flow
# misses much of small fast things: measured at 80 px over three sets of 24 videos, skill and mean
# flow correlated by +.16 when sets were balanced with .05, and by -.11 with .012. It grows with the
# hand's size less than its area does: a fit to TV-L1 at 64 px gave .018 at size 1, .048 at 1.8.
_HAND_SHARE = 0.025


@dataclass(frozen=True)
class Cues:
    """Single numbers of each video that must not reveal its skill; each of shape (V,)."""

    length: Floats  # frames
    brightness: Floats  # grey levels
    flow: Floats  # mean speed over picture and time, picture sides a frame
    objects: Floats  # how many there are to carry


def rank_correlation(first: Floats, second: Floats) -> float:
    """Return Spearman's rho, with mean ranks for ties; 0 where one side is constant."""
    x, y = _ranks(first), _ranks(second)
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else 0.0


def correlations(skill: Floats, cues: Cues) -> dict[str, float]:
    """Return rho of skill with each cue."""
    return {f.name: rank_correlation(skill, getattr(cues, f.name)) for f in fields(cues)}


def mean_flow(nuisance: Nuisance, hand: Trajectory) -> float:
    """Predict a video's mean flow magnitude from its geometry, in picture sides a frame.

    The picture counts as three rigid parts (ground, distractor, hand), each with its share;
    occlusion is ignored.
    """
    shake = np.diff(nuisance.shake, axis=0)
    tip = np.diff(hand.tip, axis=0) + shake
    other = np.diff(nuisance.distractor.centre, axis=0) + shake
    radii = nuisance.distractor.radii
    spin = np.abs(np.deg2rad(np.diff(nuisance.distractor.angle))) * radii.mean() * 2 / 3
    area, share = float(np.pi * radii.prod()), _HAND_SHARE * nuisance.hand_size
    speed = (1 - area - share) * _speed(shake) + share * _speed(tip)
    return float((speed + area * np.hypot(_speed(other), spin)).mean())


def assign_skills(
    nuisances: list[Nuisance], seed: int, options: SyntheticOptions, effects: SkillEffects
) -> tuple[Floats, Cues]:
    """Assign each video a skill so that no cue correlates with it.

    Parameters
    ----------
    nuisances : list of Nuisance
        The videos' surroundings.
    seed : int
        The set.
    options, effects
        The set's options.

    Returns
    -------
    skill : ndarray, shape (V,), float64
        Spread evenly over [0, 1].
    cues : Cues
        Of the videos with these skills.
    """
    rng = stream(seed, len(nuisances), Stream.SKILL)
    count = len(nuisances)
    levels = (np.arange(count) + rng.random(count)) / count
    candidates = np.stack([rng.permutation(levels) for _ in range(options.permutations)])
    table = np.array(
        [
            [_flow_at(seed, v, n, s, options, effects) for s in _LEVELS]
            for v, n in enumerate(nuisances)
        ]
    )
    fixed = _fixed_cues(nuisances, seed, options, effects)

    def worst(skill: Floats, flow: Floats) -> float:
        cues = Cues(flow=flow, **fixed)
        return max(abs(rho) for rho in correlations(skill, cues).values())

    rough = [worst(s, _interpolate(table, s)) for s in candidates]
    best: tuple[float, Floats, Floats] | None = None
    for row in np.argsort(rough, kind="stable")[:_FINALISTS]:
        skill = candidates[row]
        flow = np.array(
            [
                _flow_at(seed, v, n, float(skill[v]), options, effects)
                for v, n in enumerate(nuisances)
            ]
        )
        rho = worst(skill, flow)
        if best is None or rho < best[0]:
            best = (rho, skill, flow)
    if best is None:
        raise ValueError(f"permutations must be at least 1, got {options.permutations}")
    return best[1], Cues(flow=best[2], **fixed)


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _speed(velocity: Floats) -> Floats:
    return np.hypot(velocity[:, 0], velocity[:, 1])


def _flow_at(
    seed: int,
    video: int,
    nuisance: Nuisance,
    skill: float,
    options: SyntheticOptions,
    effects: SkillEffects,
) -> float:
    rng = stream(seed, video, Stream.MOTION)
    hand = trajectory(nuisance.task, skill, nuisance.frames, options.frame_rate, rng, effects)
    return mean_flow(nuisance, hand)


def _interpolate(table: Floats, skill: Floats) -> Floats:
    return np.array([np.interp(s, _LEVELS, row) for s, row in zip(skill, table, strict=True)])


def _fixed_cues(
    nuisances: list[Nuisance], seed: int, options: SyntheticOptions, effects: SkillEffects
) -> dict[str, Floats]:
    """Compute the cues that do not depend on skill; brightness with a hand of skill .5."""
    brightness = []
    for video, nuisance in enumerate(nuisances):
        rng = stream(seed, video, Stream.MOTION)
        hand = trajectory(nuisance.task, 0.5, nuisance.frames, options.frame_rate, rng, effects)
        scene = Scene(seed, video, nuisance, hand, _LOOK_SIZE)
        looks = np.linspace(0, nuisance.frames - 1, _LOOKS).astype(int)
        brightness.append(np.mean([scene.draw(int(frame)).mean() for frame in looks]))
    return {
        "length": np.array([n.frames for n in nuisances], np.float64),
        "brightness": np.array(brightness),
        "objects": np.array([len(n.task.objects) for n in nuisances], np.float64),
    }

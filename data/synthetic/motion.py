"""The hand: a pick-and-place task carried out with a given skill.

Positions are fractions of the picture's side, x to the right and y down. The task (where the
objects lie and where they go) comes from the nuisances; this module adds what skill changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.synthetic.noise import Floats, smooth_noise
from data.synthetic.options import SkillEffects

_GRASP = 0.05  # time a perfect hand takes to close or open, in the units of _Move.duration
_REACH = (0.06, 0.94)  # the tip stays in the picture
_OPENING_FRAMES = 5  # the fingers take this many frames to open or close
_TURN = 0.1  # share of the video in which the tremor goes from its first to its last strength


@dataclass(frozen=True)
class Task:
    """What is to be done: carry each object from the source pad to the target pad."""

    source: Floats  # (2,) centre of the pad where the objects lie
    target: Floats  # (2,) centre of the pad where they go
    home: Floats  # (2,) where the hand starts and ends
    objects: Floats  # (n, 2) where each object lies at first
    goals: Floats  # (n, 2) where each object should go


@dataclass(frozen=True)
class Trajectory:
    """The hand and the objects at every frame."""

    tip: Floats  # (T, 2) the point between the finger tips
    held: np.ndarray  # (T,) int, the object in the fingers, -1 for none
    opening: Floats  # (T,) 0 closed on an object, 1 open
    objects: Floats  # (T, n, 2)
    drops: int


@dataclass(frozen=True)
class _Move:
    """One stretch of the script; durations are relative until the script is complete."""

    duration: float
    start: Floats
    end: Floats
    held: int
    resting: Floats  # (n, 2) where the objects lie meanwhile


class _Script:
    """Writes the task down move by move, with the errors that clumsiness brings."""

    def __init__(
        self, task: Task, clumsiness: float, effects: SkillEffects, rng: np.random.Generator
    ):
        self.moves: list[_Move] = []
        self.drops = 0
        self._task, self._b, self._effects, self._rng = task, clumsiness, effects, rng
        self._at = task.home.copy()
        self._held = -1
        self._resting = task.objects.copy()

    def carry_out(self) -> None:
        """Carry every object over, then go home."""
        for number, goal in enumerate(self._task.goals):
            self._pick(number)
            if self._rng.random() < self._effects.drop * self._b:
                self._drop_and_fetch(number, goal)
            self._travel(goal)
            self._release(self._at)
        self._travel(self._task.home)

    def _pick(self, number: int) -> None:
        self._travel(self._resting[number])
        self._wait(_GRASP * (1 + self._b * self._rng.random()))
        self._held = number

    def _release(self, where: Floats) -> None:
        self._wait(_GRASP)
        self._resting = self._resting.copy()
        self._resting[self._held] = where
        self._held = -1

    def _drop_and_fetch(self, number: int, goal: Floats) -> None:
        rng = self._rng
        self._travel(self._at + (goal - self._at) * rng.uniform(0.3, 0.7))
        self._release(self._at + rng.normal(0, 0.03, 2))
        self._travel(self._at + (goal - self._at) * 0.4)  # the hand notices late
        self._wait(_GRASP)
        self._pick(number)
        self.drops += 1

    def _travel(self, end: Floats) -> None:
        rng, effects, b = self._rng, self._effects, self._b
        way = [self._at]
        for _ in range(rng.poisson(effects.detours * b)):
            on_line = self._at + (end - self._at) * rng.uniform(0.2, 0.8)
            way.append(on_line + rng.normal(0, effects.detour_spread, 2) * (0.35 + 0.65 * b))
        way.append(end + rng.normal(0, effects.miss, 2) * b)
        for start, stop in pairwise(way):
            length = max(float(np.linalg.norm(stop - start)), 0.04)
            self._add(length * np.exp(rng.normal(0, effects.speed_spread * b)) + 0.03, start, stop)
            self._at = stop
            if rng.random() < effects.hesitation * b:
                self._wait(rng.uniform(0.06, 0.25))

    def _wait(self, duration: float) -> None:
        self._add(duration, self._at, self._at)

    def _add(self, duration: float, start: Floats, end: Floats) -> None:
        self.moves.append(_Move(float(duration), start, end, self._held, self._resting))


def trajectory(
    task: Task,
    skill: float,
    frames: int,
    rate: float,
    rng: np.random.Generator,
    effects: SkillEffects,
) -> Trajectory:
    """Carry out `task` with `skill` in exactly `frames` frames.

    Whatever the skill, the whole task fills the whole video: length says nothing about skill.

    Parameters
    ----------
    task : Task
        The layout and the goals.
    skill : float
        0 (clumsy) to 1 (perfect).
    frames : int
        Frames of the video.
    rate : float
        Frames a second.
    rng : numpy.random.Generator
        The video's motion stream.
    effects : SkillEffects
        The effects of clumsiness.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError
        `skill` is outside [0, 1].
    """
    if not 0.0 <= skill <= 1.0:
        raise ValueError(f"skill must lie in [0, 1], got {skill}")
    clumsiness = 1.0 - skill
    script = _Script(task, clumsiness, effects, rng)
    script.carry_out()
    tip, held, objects = _sample(script.moves, frames)
    tip = np.clip(tip + _tremor(frames, rate, clumsiness, rng, effects), *_REACH)
    holding = held >= 0
    objects[holding, held[holding]] = tip[holding]
    return Trajectory(tip, held, _fingers(holding), objects, script.drops)


def _sample(moves: list[_Move], frames: int) -> tuple[Floats, np.ndarray, Floats]:
    """Stretch the script over `frames` frames: tip (T, 2), held (T,), resting objects (T, n, 2)."""
    edges = np.concatenate([[0.0], np.cumsum([move.duration for move in moves])])
    edges /= edges[-1]
    time = (np.arange(frames) + 0.5) / frames
    row = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, len(moves) - 1)
    progress = _minimum_jerk((time - edges[row]) / (edges[row + 1] - edges[row]))[:, None]
    start = np.stack([move.start for move in moves])[row]
    end = np.stack([move.end for move in moves])[row]
    held = np.array([move.held for move in moves])[row]
    return start + (end - start) * progress, held, np.stack([move.resting for move in moves])[row]


def _minimum_jerk(progress: Floats) -> Floats:
    """Give hands' bell-shaped speed (Flash and Hogan 1985, 10.1523/JNEUROSCI.05-07-01688.1985)."""
    return progress**3 * (10 - 15 * progress + 6 * progress**2)


def _tremor(
    frames: int,
    rate: float,
    clumsiness: float,
    rng: np.random.Generator,
    effects: SkillEffects,
) -> Floats:
    frequency = rng.uniform(effects.tremor_slowest, effects.tremor_fastest)
    shown = _course(frames, clumsiness, effects.settling)
    size = effects.tremor_least + effects.tremor_gain * shown
    size *= np.exp(rng.normal(0, 0.15))  # no two hands shake alike
    return size * smooth_noise(rng, frames, 0.7 * frequency, 1.3 * frequency, rate)


def _course(frames: int, clumsiness: float, settling: float) -> Floats:
    """Return the clumsiness that the tremor shows at each frame, (T, 1): reversed at first."""
    half = min(settling, _TURN / 2)
    time = (np.arange(frames) + 0.5) / frames
    turn = (settling - half, settling + half)
    return np.interp(time, turn, (1 - clumsiness, clumsiness))[:, None]


def _fingers(holding: np.ndarray) -> Floats:
    padded = np.pad((~holding).astype(float), _OPENING_FRAMES // 2, mode="edge")
    return np.convolve(padded, np.full(_OPENING_FRAMES, 1 / _OPENING_FRAMES), mode="valid")

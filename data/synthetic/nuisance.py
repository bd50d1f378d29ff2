"""Everything that skill must not change: layout, length, colours, light, shake, the distractor.

It all comes from the video's nuisance stream, drawn in a fixed order before any motion and
independent of it, so two videos that differ only in skill share every pixel outside the hand.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from data.synthetic.motion import Task
from data.synthetic.noise import Floats, Stream, smooth_noise, stream
from data.synthetic.options import SyntheticOptions

PAD_RADIUS = 0.085
_GRIDS = ((4, 16.0), (16, 9.0), (64, 7.0))  # cells a side and strength of the ground's texture


@dataclass(frozen=True)
class Distractor:
    """A large textured disc that roams, turns and trembles on the far side of the work area."""

    centre: Floats  # (T, 2)
    angle: Floats  # (T,) degrees
    radii: Floats  # (2,)
    colour: Floats  # (3,) BGR, 0-255
    spots: Floats  # (3,) BGR, 0-255


@dataclass(frozen=True)
class Ground:
    """The table: a base colour, cloudy texture at three scales, and sometimes stripes."""

    colour: Floats  # (3,) BGR, 0-255
    clouds: tuple[Floats, ...]  # one (g, g) grid a scale, in grey levels
    stripes: tuple[float, float] | None  # stripes across the picture, direction in radians
    slope: Floats  # (2,) light falling off across the picture


@dataclass(frozen=True)
class Colours:
    """BGR, 0-255."""

    source_pad: Floats
    target_pad: Floats
    objects: Floats
    shaft: Floats
    fingers: Floats


@dataclass(frozen=True)
class Nuisance:
    """One video's surroundings."""

    frames: int
    task: Task
    entry: Floats  # (2,) outside the picture, where the shaft enters
    hand_size: float  # 1: as drawn in scene.py
    reach: float  # finger length
    ground: Ground
    light: Floats  # (T,) factor
    shake: Floats  # (T, 2) camera displacement
    distractor: Distractor
    colours: Colours


def draw_nuisance(seed: int, video: int, options: SyntheticOptions) -> Nuisance:
    """Draw the surroundings of video number `video` of the set `seed`.

    Parameters
    ----------
    seed : int
        The set.
    video : int
        The video's number.
    options : SyntheticOptions
        Lengths, frame rate, size of the hand and strength of the shake.

    Returns
    -------
    Nuisance
    """
    rng = stream(seed, video, Stream.NUISANCE)
    frames = int(rng.integers(options.shortest, options.longest + 1))
    side = _direction(rng.uniform(0, 2 * np.pi))  # the work lies here, the distractor opposite
    rate = options.frame_rate
    return Nuisance(
        frames=frames,
        task=_task(rng, 0.5 + 0.19 * side),
        entry=0.5 + 1.4 * _turn(side, rng.normal(0, 0.35)),
        hand_size=options.hand_size,
        reach=rng.uniform(0.13, 0.16) * options.hand_size,
        ground=_ground(rng),
        light=_light(rng, frames),
        shake=smooth_noise(rng, frames, 0.3, rng.uniform(2, 6), rate)
        * rng.uniform(0, options.shake),
        distractor=_distractor(rng, frames, rate, 0.5 - 0.27 * side),
        colours=_colours(rng),
    )


def _direction(angle: float) -> Floats:
    return np.array([np.cos(angle), np.sin(angle)])


def _turn(vector: Floats, angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]])


def _task(rng: np.random.Generator, centre: Floats) -> Task:
    half = rng.uniform(0.15, 0.19) * _direction(rng.uniform(0, 2 * np.pi))
    source, target = centre - half, centre + half
    count = int(rng.integers(2, 5))
    return Task(
        source=source,
        target=target,
        home=centre + rng.normal(0, 0.03, 2),
        objects=source + _ring(count, rng.uniform(0, 2 * np.pi)),
        goals=target + _ring(count, rng.uniform(0, 2 * np.pi)),
    )


def _ring(count: int, first: float) -> Floats:
    angles = first + 2 * np.pi * np.arange(count) / count
    return 0.045 * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _ground(rng: np.random.Generator) -> Ground:
    colour = _colour(rng, saturation=(0.05, 0.35), value=(0.35, 0.75))
    clouds = tuple(
        rng.normal(0, strength * rng.uniform(0.5, 1.2), (cells, cells))
        for cells, strength in _GRIDS
    )
    striped, across, direction = rng.random() < 0.4, rng.uniform(4, 12), rng.uniform(0, np.pi)
    slope = rng.normal(0, 0.18, 2)
    return Ground(colour, clouds, (float(across), float(direction)) if striped else None, slope)


def _light(rng: np.random.Generator, frames: int) -> Floats:
    swing, turns, start = rng.uniform(0, 0.12), rng.uniform(0.5, 3), rng.random()
    wave = np.sin(2 * np.pi * (np.arange(frames) / frames * turns + start))
    return rng.uniform(0.75, 1.2) * (1 + swing * wave)


def _distractor(rng: np.random.Generator, frames: int, rate: float, centre: Floats) -> Distractor:
    roaming = smooth_noise(rng, frames, 0.05, rng.uniform(0.3, 1.2), rate)
    trembling = smooth_noise(rng, frames, 3, 6, rate)
    turning = smooth_noise(rng, frames, 0.05, 0.6, rate, curves=1)[:, 0]
    return Distractor(
        centre=centre + roaming * rng.uniform(0.02, 0.08) + trembling * rng.uniform(0, 0.018),
        angle=rng.uniform(0, 360) + 60 * turning * rng.uniform(0.2, 1),
        radii=rng.uniform(0.15, 0.22) * np.array([1, rng.uniform(0.7, 1)]),
        colour=_colour(rng, saturation=(0.3, 0.8), value=(0.3, 0.9)),
        spots=_colour(rng, saturation=(0.1, 0.7), value=(0.2, 1.0)),
    )


def _colours(rng: np.random.Generator) -> Colours:
    return Colours(
        source_pad=_colour(rng, saturation=(0.1, 0.5), value=(0.25, 0.9)),
        target_pad=_colour(rng, saturation=(0.1, 0.5), value=(0.25, 0.9)),
        objects=_colour(rng, saturation=(0.6, 1.0), value=(0.7, 1.0)),
        shaft=_colour(rng, saturation=(0.0, 0.12), value=(0.65, 0.95)),
        fingers=_colour(rng, saturation=(0.0, 0.3), value=(0.10, 0.35)),
    )


def _colour(
    rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]
) -> Floats:
    rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return 255 * np.array(rgb[::-1])

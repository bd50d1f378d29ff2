"""The plan of a synthetic set: each video's surroundings and skill, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from data.errors import InputError
from data.synthetic.balance import assign_skills
from data.synthetic.motion import trajectory
from data.synthetic.noise import Stream, stream
from data.synthetic.nuisance import draw_nuisance
from data.synthetic.options import SkillEffects, SyntheticOptions
from data.synthetic.scene import Scene

FEWEST_VIDEOS = 4


@dataclass(frozen=True, kw_only=True)
class SyntheticVideo:
    """One video of the set, before or after it is written."""

    name: str  # file name in the set's folder of videos, as the tables spell it
    number: int
    seed: int
    skill: float  # 0 to 1
    frames: int
    drops: int  # objects dropped on the way
    brightness: float  # grey levels, from a few small frames
    flow: float  # predicted mean flow, picture sides a frame
    options: SyntheticOptions
    effects: SkillEffects

    def scene(self) -> Scene:
        """Return the scene that draws its frames and gives its boxes."""
        nuisance = draw_nuisance(self.seed, self.number, self.options)
        rng = stream(self.seed, self.number, Stream.MOTION)
        hand = trajectory(
            nuisance.task, self.skill, nuisance.frames, self.options.frame_rate, rng, self.effects
        )
        return Scene(self.seed, self.number, nuisance, hand, self.options.picture_size)


def plan_set(
    videos: int,
    seed: int,
    options: SyntheticOptions | None = None,
    effects: SkillEffects | None = None,
) -> list[SyntheticVideo]:
    """Draw the surroundings of a set's videos and assign their skills; nothing is written.

    Parameters
    ----------
    videos : int
        Number of videos; the balance between skill and the nuisances holds from 24 on.
    seed : int
        Not negative.
    options : SyntheticOptions, optional
        Format of the videos.
    effects : SkillEffects, optional
        The effects of clumsiness.

    Returns
    -------
    list of SyntheticVideo

    Raises
    ------
    InputError
        Fewer than four videos, or a negative seed.
    """
    if videos < FEWEST_VIDEOS:
        raise InputError(f"the synthetic set needs at least {FEWEST_VIDEOS} videos, got {videos}")
    if seed < 0:
        raise InputError(f"the seed must not be negative, got {seed}")
    options, effects = options or SyntheticOptions(), effects or SkillEffects()
    nuisances = [draw_nuisance(seed, number, options) for number in range(videos)]
    skill, cues = assign_skills(nuisances, seed, options, effects)
    planned = []
    for number, nuisance in enumerate(nuisances):
        rng = stream(seed, number, Stream.MOTION)
        hand = trajectory(
            nuisance.task, skill[number], nuisance.frames, options.frame_rate, rng, effects
        )
        planned.append(
            SyntheticVideo(
                name=f"video_{number:03d}.mp4",
                number=number,
                seed=seed,
                skill=float(skill[number]),
                frames=nuisance.frames,
                drops=hand.drops,
                brightness=float(cues.brightness[number]),
                flow=float(cues.flow[number]),
                options=options,
                effects=effects,
            )
        )
    return planned

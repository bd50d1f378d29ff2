"""Every number of the synthetic set: the video format, and how clumsiness shows in the hand."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class SyntheticOptions:
    """Format of the set and the rule that makes pairs from the known skills."""

    picture_size: int = field(
        default=224,
        metadata={
            "help": "Side of the square pictures, pixels.",
            "source": "ours: the input size that ResNet was trained at",
            "min": 48,
        },
    )
    frame_rate: float = field(
        default=25.0,
        metadata={
            "help": "Frames a second.",
            "source": "ours: a 4-6 Hz tremor swings once or twice within a stack of 10 fields",
            "min": 1.0,
        },
    )
    shortest: int = field(
        default=100,
        metadata={
            "help": "Frames of the shortest video.",
            "source": "ours: eight windows of 11 frames fit without overlap",
            "min": 24,
        },
    )
    longest: int = field(
        default=200,
        metadata={
            "help": "Frames of the longest video.",
            "source": "ours: twice the shortest, so that length is a cue worth ruling out",
            "min": 24,
        },
    )
    hand_size: float = field(
        default=1.0,
        metadata={
            "help": "Size of the hand and of what it carries.",
            "source": "ours: a hand of size 1 covers a twentieth of the picture",
            "min": 0.2,
            "max": 2.5,
        },
    )
    shake: float = field(
        default=0.010,
        metadata={
            "help": "Strongest shake of a camera, standard deviation in picture sides.",
            "source": "ours",
            "min": 0.0,
            "max": 0.02,
        },
    )
    skill_gap: float = field(
        default=0.2,
        metadata={
            "help": "Two videos make a pair when their skills (0 to 1) differ by at least this.",
            "source": "ours: two viewers would agree on the order",
            "min": 0.0,
            "max": 1.0,
        },
    )
    permutations: int = field(
        default=600,
        metadata={
            "help": "Assignments of skills to videos tried; the least correlated is kept.",
            "source": "ours: brings every |rho| with a nuisance under .1 from 24 videos on",
            "min": 1,
        },
    )

    def __post_init__(self) -> None:
        """Refuse lengths in the wrong order."""
        if self.longest < self.shortest:
            raise ValueError(
                f"longest must be at least shortest, got {self.longest} < {self.shortest}"
            )


@dataclass(frozen=True, kw_only=True)
class SkillEffects:
    """How clumsiness (1 - skill) shows. Lengths are fractions of the picture's side.

    All values are ours: each effect is plain to see at clumsiness 1 and absent or slight at 0.
    """

    detours: float = 1.1  # mean number of needless way-points in one movement
    detour_spread: float = 0.10  # standard deviation of a way-point off the straight line
    speed_spread: float = 0.55  # standard deviation of the log duration of a movement
    hesitation: float = 0.45  # probability of a pause after each stretch of a movement
    drop: float = 0.5  # probability of dropping an object on its way
    miss: float = 0.02  # standard deviation of where a movement ends
    tremor_least: float = 0.0015  # standard deviation of the tremor of a perfect hand
    tremor_gain: float = 0.024  # what clumsiness 1 adds to it
    settling: float = 0.0  # share of a video, at its start, with the tremor of 1 - clumsiness
    tremor_slowest: float = 3.0  # Hz, lower end of a hand's own tremor frequency
    tremor_fastest: float = 6.0  # Hz, upper end

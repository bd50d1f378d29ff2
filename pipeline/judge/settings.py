"""What `pipeline judge` is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pipeline.shell.flags import option, shared


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """Which comparisons are asked for, and what the page shows."""

    run: Path | None = option(
        "Ask for the pairs on which this run of train-ranker is least sure.",
        default=None,
        metavar="RUN",
    )
    pairs: int | None = option(
        "Ask for this many pairs, every video about equally often, instead of choosing each pair "
        "by the answers so far.",
        default=None,
        show_default="adaptive; with --run twice the number of videos",
        metavar="N",
        min=1,
    )
    repeat_every: int = option(
        "Every N-th comparison repeats an earlier pair, to measure how well a judge agrees with "
        "themselves; 0 never does.",
        default=10,
        source="ours",
        metavar="N",
        min=0,
    )
    show_names: bool = option(
        "Show the videos' names, by which a judge may recognise people.",
        default=False,
        switch=True,
    )
    question: str = option(
        "What the page asks.", default="Which video shows more skill?", metavar="TEXT"
    )
    copies: bool = option(
        "Copy the videos (small H.264, without sound), so that they play in every browser; "
        "otherwise the page links the originals.",
        default=True,
    )
    video_side: int = option(
        "Longer side of the copies, px; smaller videos keep theirs.",
        default=640,
        source="ours",
        min=64,
    )
    seed: int = shared("seed")


@dataclass(frozen=True, kw_only=True)
class Length:
    """How many comparisons a judge makes.

    Attributes
    ----------
    pairs : int
        Different pairs.
    repeats : int
        Pairs that are shown again.
    """

    pairs: int
    repeats: int

    @property
    def comparisons(self) -> int:
        """All of them."""
        return self.pairs + self.repeats

    @classmethod
    def of(cls, videos: int, settings: JudgeSettings, planned: int | None) -> Length:
        """Return the number for `videos` videos, or for `planned` pairs.

        Sorting n videos takes n log2 n comparisons; so many, well chosen, bring Kendall's tau
        above .8 although one answer in ten is wrong (tests/judge/test_schedule.py).
        """
        every = videos * (videos - 1) // 2
        pairs = min(every, round(videos * math.log2(videos))) if planned is None else planned
        share = settings.repeat_every
        repeats = pairs // (share - 1) if share > 1 else 0
        return cls(pairs=pairs, repeats=repeats)

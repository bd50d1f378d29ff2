"""Options of `pipeline inspect`: how closely to look, and which pair of a flow cache to draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data.judgements.options import DatasetOptions
from pipeline.shell.flags import option, shared


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """How closely to look, and what to compare with."""

    verify: bool = option(
        "Read caches whole and compare their digests; hash the source videos again.",
        default=False,
        switch=True,
    )
    each: bool = option(
        "Decode all videos of a folder, and show a line for each file; also with -v.",
        default=False,
        switch=True,
    )
    features: Path | None = option(
        "Feature caches: report which judged videos they hold.", default=None
    )
    flow: Path | None = option(
        "Flow caches: report whether features were made from their present content.", default=None
    )
    videos: Path | None = option(
        "Where the caches' source videos are now, if they were moved: a folder, or the video.",
        default=None,
    )
    ranking: bool = option(
        "Judgements: print the order that they alone give (Bradley-Terry), with 95 % intervals.",
        default=False,
        switch=True,
    )
    exclude: tuple[str, ...] = shared("exclude")
    jobs: int = shared("jobs", help="Workers, if there are many files to read.")
    strict: bool = shared("strict")
    dataset: DatasetOptions = field(default_factory=DatasetOptions)


@dataclass(frozen=True, kw_only=True)
class FlowPictureOptions:
    """Which pair of frames is drawn, and the speed of the full colour.

    Raises
    ------
    ValueError
        `frame` is neither a number nor one of the words, or `full_colour` is not above 0.
    """

    image: Path | None = option(
        "Draw one pair of a flow cache (one PATH) next to the video's frame.",
        default=None,
        metavar="OUT.png",
    )
    frame: str = option(
        "For --image: number of the pair's first frame, or the pair with `median` or `most` "
        "motion, by mean speed, among those that move.",
        default="median",
        metavar="N|median|most",
    )
    full_colour: float | None = option(
        "For --image: speed in px that gets the full colour, so that pictures can be compared; by "
        "default the pair's 99th percentile.",
        default=None,
        metavar="PX",
    )

    def __post_init__(self) -> None:
        """Refuse values that name no pair or no speed."""
        if self.frame not in ("median", "most") and not self.frame.isdecimal():
            raise ValueError(f"--frame {self.frame}: expected a frame's number, `median` or `most`")
        if self.full_colour is not None and not 0 < self.full_colour < float("inf"):
            raise ValueError(f"--full-colour {self.full_colour:g}: expected a speed above 0 px")

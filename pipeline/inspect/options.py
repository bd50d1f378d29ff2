"""Options of `pipeline inspect`: how closely to look, and which pair of a flow cache to draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data.judgements.options import DatasetOptions
from pipeline.shell.flags import shared


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """How closely to look, and what to compare with."""

    verify: bool = field(
        default=False,
        metadata={
            "switch": True,
            "help": "Read caches whole and compare their digests; hash the source videos again.",
        },
    )
    each: bool = field(
        default=False,
        metadata={
            "switch": True,
            "help": "Decode all videos of a folder, and show a line for each file; also with -v.",
        },
    )
    features: Path | None = field(
        default=None,
        metadata={"help": "Feature caches: report which judged videos they hold."},
    )
    flow: Path | None = field(
        default=None,
        metadata={
            "help": "Flow caches: report whether features were made from their present content."
        },
    )
    videos: Path | None = field(
        default=None,
        metadata={
            "help": "Where the caches' source videos are now, if they were moved: a folder, or "
            "the video."
        },
    )
    jobs: int = shared("jobs", help="Workers, if there are many files to read.")
    strict: bool = shared("strict")
    dataset: DatasetOptions = field(default_factory=DatasetOptions)


@dataclass(frozen=True, kw_only=True)
class FlowPictureOptions:
    """Which pair of frames is drawn, and at which speed colours are full.

    Raises
    ------
    ValueError
        `frame` is neither a number nor one of the words.
    """

    image: Path | None = field(
        default=None,
        metadata={
            "metavar": "OUT.png",
            "help": "Draw one pair of a flow cache (one PATH) next to the video's frame.",
        },
    )
    frame: str = field(
        default="median",
        metadata={
            "metavar": "N|median|most",
            "help": "For --image: number of the pair's first frame, or the pair with `median` or "
            "`most` motion, by mean speed, among those that move.",
        },
    )
    full_colour: float | None = field(
        default=None,
        metadata={
            "metavar": "PX",
            "help": "For --image: speed in px that gets the full colour, so that pictures can be "
            "compared; by default the pair's 99th percentile.",
        },
    )

    def __post_init__(self) -> None:
        """Refuse what names no pair."""
        if self.frame not in ("median", "most") and not self.frame.isdecimal():
            raise ValueError(f"--frame {self.frame}: expected a frame's number, `median` or `most`")
        if self.full_colour is not None and not 0 < self.full_colour < float("inf"):
            raise ValueError(f"--full-colour {self.full_colour:g}: expected a speed above 0 px")

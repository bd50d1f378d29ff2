"""What a picture of optical flow shows, and how."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FlowPictureOptions:
    """Which pair of frames is drawn, and at which speed colours are full.

    Raises
    ------
    ValueError
        `frame` is neither a number nor one of the words.
    """

    frame: str = field(
        default="median",
        metadata={
            "help": "For --image: number of the pair's first frame, or the pair with `median` or "
            "`most` motion, by mean speed, among those that move.",
            "metavar": "N|median|most",
        },
    )
    full_colour: float | None = field(
        default=None,
        metadata={
            "help": "For --image: speed in px that gets the full colour, so that pictures compare; "
            "otherwise the pair's 99th percentile.",
            "metavar": "PX",
        },
    )
    arrows: int = field(
        default=24,
        metadata={
            "help": "For --image: arrows along the frame's longer side; 0 draws none.",
            "source": "ours",
            "min": 0,
            "max": 200,
        },
    )

    def __post_init__(self) -> None:
        """Refuse what names no pair."""
        if self.frame not in ("median", "most") and not self.frame.isdecimal():
            raise ValueError(f"--frame {self.frame}: expected a frame's number, `median` or `most`")
        if self.full_colour is not None and not 0 < self.full_colour < float("inf"):
            raise ValueError(f"--full-colour {self.full_colour:g}: expected a speed above 0 px")

"""Options of the sampling plan and of the stored flow, each number written once."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Literal

_SIZE = re.compile(r"(\d+)\s*[xX×]\s*(\d+)")


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Which snippets of a video are computed and cached.

    Raises
    ------
    ValueError
        A number is out of its range.
    """

    plan: Literal["segments", "dense"] = field(
        default="segments",
        metadata={
            "help": "segments: a few snippets in each of N equal spans; dense: every k-th snippet.",
            "source": "ours: flow is computed only for the windows that are needed",
        },
    )
    segments: int = field(
        default=25,
        metadata={
            "help": "Equal spans that the whole video is divided into (plan segments).",
            "source": "paper: N = 25",
            "min": 1,
            "max": 100_000,
        },
    )
    candidates: int = field(
        default=2,
        metadata={
            "help": "Snippets cached in each span, from which training draws (plan segments).",
            "source": "ours",
            "min": 1,
            "max": 10_000,
        },
    )
    stride: int = field(
        default=5,
        metadata={
            "help": "Every how many frames a snippet is cached (plan dense).",
            "source": "authors' code: 1, 5 or 50 by data set",
            "min": 1,
            "max": 1_000_000_000,
        },
    )
    stack_length: int = field(
        default=10,
        metadata={
            "help": "Flow fields in a snippet's stack.",
            "source": "paper: L = 10, 20 channels",
            "min": 1,
            "max": 1000,
        },
    )
    frame_step: int = field(
        default=1,
        metadata={
            "help": "Take every how many frames (after --fps); flow runs from one to the next.",
            "source": "authors' code",
            "min": 1,
            "max": 1_000_000,
        },
    )
    fps: float | None = field(
        default=None,
        metadata={
            "help": "Thin the video to this many frames a second by its time stamps; "
            "a slower video keeps all its frames.",
            "source": "ours: the paper keeps each video's own rate",
            "min": 0,
            "max": 1_000_000,
        },
    )

    def recorded(self) -> dict[str, object]:
        """Return the options as caches record them: without those that the plan ignores."""
        ignored = ("stride",) if self.plan == "segments" else ("segments", "candidates")
        return {name: value for name, value in asdict(self).items() if name not in ignored}

    def __post_init__(self) -> None:
        """Refuse values that allow no plan."""
        if self.plan not in ("segments", "dense"):
            raise ValueError(f"plan must be 'segments' or 'dense', got {self.plan!r}")
        for name in ("segments", "candidates", "stride", "stack_length", "frame_step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"fps must be above 0, got {self.fps!r}")


@dataclass(frozen=True, kw_only=True)
class FlowOptions:
    """At which size flow is computed and how it is stored.

    Raises
    ------
    ValueError
        A number is out of its range, or `size` cannot be read.
    """

    bound: float = field(
        default=20.0,
        metadata={
            "help": "Largest displacement stored, in pixels a frame; larger ones are clipped.",
            "source": "two-stream lineage: ±20 px",
            "min": 0,
            "max": 10_000,
        },
    )
    short_side: int | None = field(
        default=256,
        metadata={
            "help": "Shrink frames so that the short side has this many pixels; never enlarges "
            "(0: full size).",
            "source": "two-stream lineage: 340×256",
            "min": 0,
            "max": 100_000,
        },
    )
    size: str | None = field(
        default=None,
        metadata={
            "help": "Exact size of the frames, in place of --short-side; the aspect is not kept.",
            "source": "ours",
            "metavar": "WxH",
        },
    )
    dtype: Literal["uint8", "float16"] = field(
        default="uint8",
        metadata={
            "help": "How flow is stored: 8 bits (error at most bound/254 px) or 16-bit floats "
            "(neither clipped nor quantised).",
            "source": "two-stream lineage: 8 bits",
        },
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot be used; give equal options one spelling."""
        if not 0 < self.bound < float("inf"):
            raise ValueError(f"bound must be above 0 px, got {self.bound!r}")
        if self.short_side == 0:
            object.__setattr__(self, "short_side", None)
        if self.short_side is not None and self.short_side < 16:
            raise ValueError(
                f"short_side must be at least 16 px, or 0 for full size, got {self.short_side!r}"
            )
        if self.dtype not in ("uint8", "float16"):
            raise ValueError(f"dtype must be 'uint8' or 'float16', got {self.dtype!r}")
        if self.size is not None:
            object.__setattr__(self, "size", "{}x{}".format(*parse_size(self.size)))

    def target_size(self, width: int, height: int) -> tuple[int, int]:
        """Size at which flow of a video of the given size is computed.

        Parameters
        ----------
        width, height
            Frame size after rotation, in pixels.

        Returns
        -------
        tuple[int, int]
            Width and height in pixels: `size` where given; else the short side becomes
            `short_side` and the long side keeps the aspect, rounded half up to a whole pixel;
            a frame with a short side no larger than that keeps its size.
        """
        if width < 1 or height < 1:
            raise ValueError(f"a frame has at least one pixel, got {width}x{height}")
        if self.size is not None:
            return parse_size(self.size)
        short = min(width, height)
        if self.short_side is None or short <= self.short_side:
            return width, height
        # Integers only: floor((2·side·target + short) / (2·short)) is rounding half up.
        wide, high = (
            (2 * side * self.short_side + short) // (2 * short) for side in (width, height)
        )
        return wide, high


def parse_size(text: str) -> tuple[int, int]:
    """Read ``"340x256"`` as (340, 256), width first.

    Raises
    ------
    ValueError
        The text is not of that form, or a side is under 16 px (TV-L1's smallest scale).
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"size must be WIDTHxHEIGHT such as 340x256, got {text!r}")
    width, height = int(match[1]), int(match[2])
    if min(width, height) < 16:
        raise ValueError(f"size must be at least 16x16 px, got {text!r}")
    return width, height

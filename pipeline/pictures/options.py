"""Options of attention, sheets and films; help reads them without NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pipeline.shell.flags import option


@dataclass(frozen=True, kw_only=True)
class OverlayOptions:
    """How attention is coloured over a frame.

    Attention is measured against an even spread over the map: 1 and less is clear, `limit` and
    more has the strongest colour.
    """

    scale: Literal["video", "fixed", "frame"] = option(
        "What the strongest colour stands for: the strongest attention in the video (frames "
        "compare), a fixed value (videos compare), or that in each frame (weak attention shows)",
        default="video",
        source="ours",
    )
    scale_limit: float = option(
        "With --scale fixed: attention, as a multiple of an even spread, with the strongest colour",
        default=8.0,
        source="ours",
        min=1.1,
    )
    opacity: float = option(
        "Opacity of the strongest attention.", default=0.65, source="ours", min=0.0, max=1.0
    )
    grey: bool = option(
        "Draw over the frame in grey, so that all colour is attention (skin and wood are as warm "
        "as most colour maps).",
        default=True,
        source="ours",
    )
    colours: str = option(
        "A matplotlib colour map; the default also reads in grey and with any of the common "
        "colour-vision deficiencies.",
        default="plasma",
        source="ours",
    )


@dataclass(frozen=True, kw_only=True)
class SheetOptions:
    """The layout of a contact sheet."""

    columns: int | None = option(
        "Segments side by side on the contact sheet; 2 reads well on a phone. By default as many "
        "as make it about square, 5 at most.",
        default=None,
        source="ours",
        min=1,
    )

    def columns_for(self, segments: int) -> int:
        """Return the number of columns for a sheet of `segments` tiles."""
        return min(segments, self.columns or min(5, math.ceil(segments**0.5)))


@dataclass(frozen=True, kw_only=True)
class FilmOptions:
    """Whether there is a film, its size, and attention between snippets."""

    film: bool = option(
        "Write a film (mp4) as well as the contact sheet.", default=True, source="ours"
    )
    between: Literal["linear", "hold"] = option(
        "Attention of the frames between two snippets: interpolated, or that of the nearer one; "
        "the ranker itself sees only the snippets.",
        default="linear",
        source="ours",
    )
    video_side: int = option(
        "Longer side of the film's picture, px.", default=720, source="ours", min=64
    )

"""What `explain` draws."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class ExplainOptions:
    """What is drawn of a video beside its colours (`OverlayOptions`)."""

    format: Literal["mp4", "webm", "gif", "none"] = field(
        default="mp4",
        metadata={
            "help": "Of the moving overlay: mp4 (MPEG-4, for players), webm (VP8, for browsers "
            "too), gif (at most 600 pictures), or none.",
            "source": "ours",
        },
    )
    between: Literal["linear", "hold"] = field(
        default="linear",
        metadata={
            "help": "Attention of the frames between two snippets: from the one to the other, or "
            "that of the nearer one; the ranker itself sees the snippets only.",
            "source": "ours",
        },
    )
    video_side: int = field(
        default=720,
        metadata={
            "help": "Longer side of the moving overlay's picture, px (a gif's at most 400).",
            "source": "ours",
            "min": 64,
        },
    )
    columns: int | None = field(
        default=None,
        metadata={
            "help": "Segments side by side on the contact sheet; 2 reads well on a phone. By "
            "default as many as make it about square, 5 at most.",
            "source": "ours",
            "min": 1,
        },
    )

    def columns_for(self, segments: int) -> int:
        """Return the number of columns for a sheet of `segments` tiles."""
        return min(segments, self.columns or min(5, math.ceil(segments**0.5)))

"""What goes into a report, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ReportOptions:
    """Sizes of a report; every picture is inside its one file."""

    thumbnails: int = field(
        default=200,
        metadata={
            "help": "Pictures in the ranking at most; of longer rankings the best and the worst "
            "get them. 0 leaves them out.",
            "source": "ours: about 5 KB each, 1 MB in all",
            "min": 0,
        },
    )
    wrong_pairs: int = field(
        default=6,
        metadata={"help": "Pairs shown of those it gets most wrong.", "source": "ours", "min": 0},
    )
    sheets: int = field(
        default=1,
        metadata={
            "help": "Attention sheets of so many of the best and as many of the worst videos.",
            "source": "ours",
            "min": 0,
        },
    )

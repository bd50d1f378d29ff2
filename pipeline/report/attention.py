"""Where the ranker looked in its best and its worst videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.errors import InputError
from pipeline.shell.console import log

if TYPE_CHECKING:
    from pipeline.report.images import Picture
    from pipeline.report.ranking import Ranked
    from pipeline.report.sources import Sources

# Pixels; a sheet of 25 segments has about 2700.
_LONGEST = 3000


@dataclass(frozen=True)
class Sheet:
    """A contact sheet of a video."""

    role: str
    video: Ranked
    picture: Picture


@dataclass(frozen=True)
class Sheets:
    """Contact sheets, and why some are missing."""

    shown: tuple[Sheet, ...]
    reason: str = ""


def attention_sheets(sources: Sources, rows: Sequence[Ranked], count: int) -> Sheets:
    """Draw the sheets of the best and the worst videos whose files are there.

    Parameters
    ----------
    sources : Sources
    rows : sequence of Ranked
        All videos, best first.
    count : int
        Of the best, and of the worst.

    Returns
    -------
    Sheets
        Best first, then the worst from the bottom up; each video once.
    """
    there = [row for row in rows if row.key in sources.videos and row.key in sources.headers]
    if not count:
        return Sheets(())
    if sources.features is None or not there:
        return Sheets((), "Drawn where the run's feature caches and videos are found.")
    best = there[:count]
    worst = [row for row in reversed(there[count:])][:count]
    shown, failed = [], []
    for role, row in [("best", row) for row in best] + [("worst", row) for row in worst]:
        try:
            shown.append(Sheet(role, row, _draw(sources, row.key)))
        except InputError as error:
            log.warning("%s: no attention sheet: %s", row.key, error)
            failed.append(str(error))
    return Sheets(tuple(shown), " ".join(f"Not drawn: {why}." for why in dict.fromkeys(failed)))


def _draw(sources: Sources, key: str) -> Picture:
    from pipeline.explain.command import explain_cached
    from pipeline.pictures.sheet import draw_sheet
    from pipeline.report.images import jpeg

    if sources.features is None:
        raise InputError("no feature caches")
    look = explain_cached(sources.folder, key, sources.videos[key], sources.features, sources.flow)
    sheet = draw_sheet(look)
    return jpeg(sheet[:, :, ::-1], _LONGEST)

"""Geometry of the page's charts: everything in per cent, so that they fit any width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAMES = {
    "train": "training pairs",
    "validation": "validation pairs",
    "test": "test pairs (chose the epoch)",
}
# Line styles differ too, for those who cannot tell the colours apart.
STYLES = {"train": "train", "validation": "held", "test": "held"}
_TICKS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes
    ----------
    name, style : str
    points : str
        "x,y x,y …" of an SVG polyline in a box of 100 × 100, y downward.
    last : float
        Its value at the chosen epoch.
    """

    name: str
    style: str
    points: str
    last: float


@dataclass(frozen=True)
class Chart:
    """Curves over the epochs.

    Attributes
    ----------
    title : str
    lines : tuple of Line
    ticks : tuple of (float, str)
        Height in per cent from above, and label.
    chosen : float
        Place of the chosen epoch, per cent from the left.
    first, last, epoch : int
        Epochs at the ends of the axis, and the chosen one.
    """

    title: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    chosen: float
    first: int
    last: int
    epoch: int


def learning_curves(history: Sequence[Mapping[str, Any]], epoch: int) -> tuple[Chart, ...]:
    """Return the charts of loss and of pair accuracy; none where nothing was recorded."""
    charts = []
    for what, title, per_cent in (
        ("loss", "Ranking loss", False),
        ("accuracy", "Pair accuracy", True),
    ):
        series = {
            part: [float(record[f"{part}_{what}"]) for record in history]
            for part in _NAMES
            if history and all(f"{part}_{what}" in record for record in history)
        }
        if series:
            charts.append(
                _chart(title, series, [int(r["epoch"]) for r in history], epoch, per_cent)
            )
    return tuple(charts)


def _chart(
    title: str,
    series: Mapping[str, Sequence[float]],
    epochs: Sequence[int],
    epoch: int,
    per_cent: bool,
) -> Chart:
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    top = 1.0 if per_cent else max([*finite, 1e-6])
    step = 0.25 if per_cent else nice_step(top)
    top = step * math.ceil(top / step - 1e-9)
    first, last = epochs[0], epochs[-1]

    def x(value: int) -> float:
        return 50.0 if last == first else 100 * (value - first) / (last - first)

    def y(value: float) -> float:
        return 100 - 100 * min(max(value / top, 0.0), 1.0)

    lines = []
    for part, values in series.items():
        points = " ".join(
            f"{x(e):.2f},{y(v):.2f}"
            for e, v in zip(epochs, values, strict=True)
            if math.isfinite(v)
        )
        chosen = values[epochs.index(epoch)] if epoch in epochs else values[-1]
        lines.append(Line(_NAMES[part], STYLES[part], points, chosen))
    ticks = tuple(
        (y(step * i), f"{100 * step * i:g} %" if per_cent else f"{step * i:g}")
        for i in range(round(top / step) + 1)
    )
    return Chart(title, tuple(lines), ticks, x(epoch), first, last, epoch)


def nice_step(top: float) -> float:
    """Return a round distance of ticks that gives two to five of them up to `top`."""
    rough = top / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(step for step in (unit * tick for tick in _TICKS) if step >= rough * (1 - 1e-9))


def bars(scores: Sequence[float]) -> list[tuple[float, float]]:
    """Return for each score (left, width) in per cent of a bar from zero."""
    low, high = min(0.0, *scores), max(0.0, *scores)
    span = (high - low) or 1.0
    return [(100 * (min(score, 0.0) - low) / span, 100 * abs(score) / span) for score in scores]

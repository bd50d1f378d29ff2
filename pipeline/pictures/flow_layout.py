"""How frame, flow and legend are laid out in a picture of optical flow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pipeline.pictures.flow_colours import colours, tick_step, wheel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches.
_LONG_SIDE, _LEGEND, _GAP = 4.8, 2.1, 0.3
_LEFT, _TOP, _LINE = 0.15, 0.35, 0.22
_LEGEND_LEFT, _LEGEND_BELOW = 0.75, 0.65
_DPI = 120
_WHEEL_PX = 400
#: Arrows of less than this share of the full colour's speed would be dots.
_SHORTEST = 0.08


@dataclass(frozen=True)
class Panels:
    """What is drawn.

    Attributes
    ----------
    field : ndarray (2, H, W)
        Flow in px.
    full : float
        Speed of full colour, px.
    unit : str
        Of speeds.
    frame : ndarray (h, w, 3) uint8 or None
        RGB; stretched to the flow's shape, as the flow saw it.
    arrows : int
        Along the longer side of the frame, or of the flow where there is no frame.
    notes : sequence of str
        Lines below.
    """

    field: np.ndarray
    full: float
    unit: str
    frame: np.ndarray | None
    arrows: int
    notes: Sequence[str]


def render(panels: Panels) -> bytes:
    """Draw the panels; a PNG file's content."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = panels.field.shape[1:]
    scale = _LONG_SIDE / max(height, width)
    wide, high = width * scale, height * scale
    pictures = 1 if panels.frame is None else 2
    below = _LINE * (len(panels.notes) + 0.6)
    body = max(high, _LEGEND + _LEGEND_BELOW + 0.25)
    longest = max(len(note) for note in panels.notes) * 0.073 + 2 * _LEFT
    total_wide = _LEFT + pictures * (wide + _GAP) + _LEGEND_LEFT + _LEGEND + 0.25
    total = (max(total_wide, longest), _TOP + body + below)
    figure = Figure(figsize=total, dpi=_DPI)
    FigureCanvasAgg(figure)

    def place(left: float, top: float, across: float, down: float) -> Any:
        box = (left / total[0], 1 - (top + down) / total[1], across / total[0], down / total[1])
        return figure.add_axes(box)

    left = _LEFT
    if panels.frame is not None:
        _draw_frame(place(left, _TOP, wide, high), panels)
        left += wide + _GAP
    _draw_flow(place(left, _TOP, wide, high), panels)
    left += wide + _GAP + _LEGEND_LEFT
    _draw_legend(place(left, _TOP, _LEGEND, _LEGEND), panels)
    _draw_notes(figure, panels.notes, total)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_frame(axes: Any, panels: Panels) -> None:
    axes.imshow(
        panels.frame, extent=_extent(panels.field), aspect="auto", interpolation="antialiased"
    )
    title = "first frame"
    if panels.arrows:
        title += f", arrows {_draw_arrows(axes, panels):.3g} times as long as the motion"
    _finish(axes, title)


def _draw_flow(axes: Any, panels: Panels) -> None:
    axes.imshow(
        colours(panels.field, panels.full),
        extent=_extent(panels.field),
        aspect="auto",
        interpolation="nearest",
    )
    title = "optical flow"
    if panels.frame is None and panels.arrows:
        title += f", arrows {_draw_arrows(axes, panels):.3g} times as long as the motion"
    _finish(axes, title)


def _draw_arrows(axes: Any, panels: Panels) -> float:
    """Draw the mean motion of square cells; how many times as long as it is it is drawn."""
    height, width = panels.field.shape[1:]
    cell = max(height, width) / panels.arrows
    across, down = max(round(width / cell), 1), max(round(height / cell), 1)
    known = np.nan_to_num(panels.field.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    u, v = (cv2.resize(part, (across, down), interpolation=cv2.INTER_AREA) for part in known)
    x, y = np.meshgrid(
        (np.arange(across) + 0.5) * width / across, (np.arange(down) + 0.5) * height / down
    )
    longer = cell / panels.full
    speed = np.hypot(u, v)
    # Only the drawing of the fastest is shortened, so that arrows do not hide one another.
    shorten = np.minimum(1, 1.5 * panels.full / np.maximum(speed, 1e-12))
    moving = speed > _SHORTEST * panels.full
    u, v = (part * shorten * longer for part in (u, v))
    for colour, thickness, layer in (("black", 3.0, 2), ("white", 1.3, 3)):
        axes.quiver(
            x[moving],
            y[moving],
            u[moving],
            v[moving],
            angles="xy",
            scale_units="xy",
            scale=1,
            units="dots",
            width=thickness,
            headwidth=3.2 if colour == "white" else 2.4,
            headlength=3.6 if colour == "white" else 2.7,
            headaxislength=3.2 if colour == "white" else 2.4,
            minlength=0,
            color=colour,
            zorder=layer,
        )
    return longer


def _draw_legend(axes: Any, panels: Panels) -> None:
    full, step = panels.full, tick_step(panels.full)
    axes.imshow(wheel(_WHEEL_PX), extent=(-full, full, full, -full), interpolation="bilinear")
    from matplotlib.patches import Circle

    steps = int(full / step + 1e-9)
    for number in range(1, steps + 1):
        axes.add_patch(Circle((0, 0), number * step, fill=False, color="0.35", linewidth=0.5))
    ticks = [number * step for number in range(-steps, steps + 1)]
    labels = [f"{tick:.3g}".replace("-", "−") for tick in ticks]
    axes.set_xticks(ticks, labels, fontsize=8)
    axes.set_yticks(ticks, labels, fontsize=8)
    axes.set_xlabel(f"u, right is positive\n{panels.unit}", fontsize=8)
    axes.set_ylabel("v, down is positive", fontsize=8)
    for name, x, y in (("right", 0.82, 0), ("left", -0.82, 0), ("up", 0, -0.86), ("down", 0, 0.86)):
        axes.text(x * full, y * full, name, ha="center", va="center", fontsize=7.5)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_title("motion", fontsize=9)


def _draw_notes(figure: Figure, notes: Sequence[str], size: tuple[float, float]) -> None:
    for number, note in enumerate(reversed(notes)):
        y = _LINE * (number + 0.35)
        # A file's name may hold dollar signs, which are mathematics to matplotlib.
        figure.text(_LEFT / size[0], y / size[1], note, fontsize=9, parse_math=False)


def _extent(field: np.ndarray) -> tuple[float, float, float, float]:
    height, width = field.shape[1:]
    return (0, width, height, 0)


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])

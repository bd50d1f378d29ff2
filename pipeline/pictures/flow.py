"""Optical flow as colours: the hue is the direction, the distance from white the speed.

The wheel is that of Baker et al. (A Database and Evaluation Methodology for Optical Flow, IJCV
2011), drawn by torchvision: right is red, down yellow, left cyan, up between blue and violet.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torchvision.utils import flow_to_image

#: The speed that this percentile of the pixels does not exceed gets the full colour.
FULL_PERCENTILE = 99.0
_INCHES, _WHEEL_INCHES, _DPI = 4.8, 1.7, 120
_WHEEL_PX, _LETTERS = 240, 46  # letters of a note in one panel's width


def colours(flow: NDArray[np.floating], full: float) -> NDArray[np.uint8]:
    """Colour a flow field.

    Parameters
    ----------
    flow : ndarray (2, H, W)
        Displacement in px, u to the right and v down.
    full : float
        Speed in px that gets the full colour; faster pixels look the same. White stands still.

    Returns
    -------
    ndarray (H, W, 3) uint8
        RGB. Pixels whose flow is not a number are black.

    Raises
    ------
    ValueError
        `full` is not above 0.
    """
    if not full > 0:
        raise ValueError(f"the speed of full colour must be above 0 px, got {full!r}")
    field = np.asarray(flow, dtype=np.float64)
    finite: NDArray[np.bool_] = np.all(np.isfinite(field), axis=0)
    field = np.where(finite, field, 0)
    field = field / np.maximum(np.hypot(*field), full)
    # torchvision takes a field's fastest pixel for the full colour: one more row holds it.
    anchor = np.zeros((2, 1, field.shape[2]))
    anchor[0] = 1
    image = flow_to_image(torch.from_numpy(np.concatenate([field, anchor], axis=1)).float())
    return np.where(finite[..., None], image.numpy().transpose(1, 2, 0)[:-1], 0).astype(np.uint8)


def wheel(side: int) -> NDArray[np.uint8]:
    """Draw the legend: each pixel coloured as motion from the centre to it.

    Parameters
    ----------
    side : int
        Width and height in px; the circle of full colour touches the edges.

    Returns
    -------
    ndarray (side, side, 4) uint8
        RGBA, clear outside the circle. x grows to the right and y down, as in the field.
    """
    place = (np.arange(side) + 0.5) / side * 2 - 1
    flow = np.stack(np.meshgrid(place, place))
    inside = np.hypot(*flow) <= 1
    return np.dstack([colours(flow, 1.0), np.where(inside, 255, 0).astype(np.uint8)])


def draw_flow(
    field: NDArray[np.floating],
    full: float,
    *,
    unit: str = "px/frame",
    frame: NDArray[np.uint8] | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw a flow field next to its frame, with the wheel and the scale.

    Parameters
    ----------
    field : ndarray (2, H, W)
        Flow in px.
    full : float
        Speed of the full colour, px.
    unit : str
        Of speeds.
    frame : ndarray (h, w, 3) uint8, optional
        RGB; stretched to the shape of the flow.
    notes : sequence of str
        Lines below.

    Returns
    -------
    Figure
        Its axes are the frame, where there is one, the flow and the wheel.
    """
    height, width = field.shape[1:]
    scale = _INCHES / max(height, width)
    panels = [(colours(field, full), f"optical flow, full colour at {full:.3g} {unit}")]
    if frame is not None:
        panels.insert(0, (frame, "first frame"))
    widths = [max(width * scale, 2.4)] * len(panels) + [_WHEEL_INCHES]
    lines = [
        line for note in notes for line in textwrap.wrap(note, round(_LETTERS * sum(widths) / 3.4))
    ]
    size = (sum(widths) + 0.3, max(height * scale, 2.0) + 0.4 + 0.2 * len(lines))
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    for place, (picture, title) in zip(axes, panels, strict=False):
        place.imshow(picture, extent=(0, width, height, 0), interpolation="antialiased")
        place.set_title(title, fontsize=9)
        place.set(xticks=[], yticks=[])
    draw_wheel(axes[-1])
    axes[-1].set_title(f"rim: {full:.3g} {unit}\nor faster", y=-0.3, fontsize=8)
    # File names may hold dollar signs, which matplotlib takes for mathematics.
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=9, parse_math=False)
    return figure


def draw_wheel(axes: Any) -> None:
    """Draw the wheel, its directions named, into axes of at least 100 px."""
    axes.imshow(wheel(_WHEEL_PX))
    axes.set_axis_off()
    for name, x, y in (("right", 0.7, 0), ("left", -0.7, 0), ("up", 0, -0.6), ("down", 0, 0.6)):
        x, y = ((part + 1) / 2 * _WHEEL_PX for part in (x, y))
        axes.text(x, y, name, ha="center", va="center", fontsize=7.5)


def full_speed(flow: NDArray[np.floating]) -> float:
    """Return the speed of the full colour for (..., 2, H, W) fields: their 99th percentile."""
    u, v = np.moveaxis(flow, -3, 0)
    return max(0.5, float(np.percentile(np.hypot(u, v), FULL_PERCENTILE)))


def png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Scripts that matplotlib's font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()

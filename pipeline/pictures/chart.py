"""Running score and attention entropy over time, for the head of a contact sheet."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.explain.look import Look

# Of Okabe and Ito's palette, told apart with any of the common colour-vision deficiencies; line
# style and mark differ as well.
_SCORE, _ENTROPY = "#0072B2", "#D55E00"
_HEIGHT, _DPI = 230, 100


def draw_chart(look: Look, width: int) -> np.ndarray:
    """Draw the chart, (230, width, 3) uint8 RGB."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": 12.5, "axes.spines.top": False}):
        figure = Figure(figsize=(width / _DPI, _HEIGHT / _DPI), dpi=_DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        left = figure.add_subplot()
        marks: dict[str, Any] = {"linewidth": 2.0, "markersize": 6.0}
        left.plot(look.times, look.running, "-o", color=_SCORE, **marks)
        left.axhline(look.score, color=_SCORE, linewidth=0.8, alpha=0.5)
        left.set_ylabel("running score", color=_SCORE)
        left.tick_params(axis="y", colors=_SCORE)
        left.set_xlabel("seconds")
        right = left.twinx()
        right.plot(look.times, 100 * look.entropy, "--s", color=_ENTROPY, **marks)
        right.set_ylabel("entropy, %", color=_ENTROPY)
        right.tick_params(axis="y", colors=_ENTROPY)
        right.set_ylim(min(90.0, 100 * float(look.entropy.min()) - 2), 101)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()

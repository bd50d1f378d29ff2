"""The learning curves of a run as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence


def draw_learning_curves(
    history: Sequence[dict[str, float]], best_epoch: int, title: str, chosen_on: str
) -> bytes:
    """Return a PNG with loss and pair accuracy over the epochs, the chosen one marked.

    Parameters
    ----------
    history : sequence of dict
        `FitResult.history`.
    best_epoch : int
        Counted from 1.
    title : str
        Above the picture.
    chosen_on : str
        Whose curve the records call validation, e.g. "validation" or "test pairs".
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    epochs = [record["epoch"] for record in history]
    labels = {"loss": "ranking loss", "accuracy": "pair accuracy"}
    mark = "o" if len(history) == 1 else ""  # A line through one point would not be seen.
    for axes, what in zip(figure.subplots(1, 2), labels, strict=True):
        for part, name in (("train", "training"), ("validation", chosen_on)):
            if f"{part}_{what}" in history[0]:
                values = [record[f"{part}_{what}"] for record in history]
                axes.plot(epochs, values, marker=mark, label=name)
        axes.axvline(best_epoch, color="grey", linestyle=":", label=f"chosen: epoch {best_epoch}")
        axes.set(xlabel="epoch", ylabel=labels[what])
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right" if what == "accuracy" else "upper right")
        if what == "accuracy":
            axes.set_ylim(-0.02, 1.02)
    picture = io.BytesIO()
    # Without the library's version in it, equal runs give equal files.
    figure.savefig(picture, format="png", dpi=120, metadata={"Software": None})
    return picture.getvalue()

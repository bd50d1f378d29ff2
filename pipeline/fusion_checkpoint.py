"""What fit-fusion leaves behind: the checkpoint and its training curve."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.features.joint import JointState
from pipeline.stage_one_build import FUSION_FORMAT
from pipeline.weights import write_safetensors


def write_checkpoint(output: Path, state: JointState, about: dict[str, Any]) -> None:
    """Write the curve, and then the checkpoint: it is there only when its curve is."""
    output.parent.mkdir(parents=True, exist_ok=True)
    _write_curve(output.with_name(f"{output.stem}_curve"), state)
    write_safetensors(output, state.best_fusion, {"format": FUSION_FORMAT, **about})


def _write_curve(base: Path, state: JointState) -> None:
    """Write the training curve as a table and as a picture."""
    names = list(state.history[0])
    with base.with_suffix(".csv").open("w", newline="") as file:
        table = csv.DictWriter(file, names, lineterminator="\n")
        table.writeheader()
        table.writerows(state.history)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [record["epoch"] for record in state.history]
    for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for name in names:
            if name.endswith(what):
                axes.plot(epochs, [r[name] for r in state.history], label=name.split("_")[0])
        axes.axvline(state.best_epoch, color="grey", linestyle=":", label="kept")
        axes.set(xlabel="epoch", ylabel="margin loss" if what == "loss" else "pair accuracy")
        axes.legend()
    figure.savefig(base.with_suffix(".png"), dpi=120)

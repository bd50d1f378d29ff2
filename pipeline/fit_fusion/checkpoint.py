"""What fit-fusion leaves behind: the checkpoint and its training curve."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from model.ranker.joint import JointState
from pipeline.pictures.curves import draw_learning_curves
from pipeline.runner.files import write_safetensors
from pipeline.stage_one.networks import FUSION_FORMAT


def write_checkpoint(output: Path, state: JointState, about: dict[str, Any]) -> None:
    """Write the curve, and then the checkpoint: it is there only when its curve is."""
    output.parent.mkdir(parents=True, exist_ok=True)
    _write_curve(output.with_name(f"{output.stem}_curve"), state)
    write_safetensors(output, state.best_fusion, {"format": FUSION_FORMAT, **about})


def _write_curve(base: Path, state: JointState) -> None:
    """Write the training curve as a table and as a picture."""
    with base.with_suffix(".csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(state.history[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(state.history)
    picture = draw_learning_curves(
        state.history, state.best_epoch, "ConvFusion and ranker", "validation"
    )
    base.with_suffix(".png").write_bytes(picture)

"""A run of train-ranker: carried out, and written down."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.errors import InputError
from data.files import sweep
from data.judgements.pairs import Pair
from model.ranker.scoring import pair_accuracy, score
from model.ranker.training import FitResult, FitState, Record, fit
from pipeline.pictures.curves import draw_learning_curves
from pipeline.runner.devices import parse_devices
from pipeline.runner.files import write_bytes, write_csv, write_json
from pipeline.runs import folder as run_folder
from pipeline.runs.description import describe_run
from pipeline.runs.maps import read_maps
from pipeline.shell.console import log, progress
from pipeline.stage_one.file import FILE_NAME as STAGE_ONE
from pipeline.train_ranker import state as ranker_state
from pipeline.train_ranker.plan import (
    FALLBACK_BATCH,
    PROTOCOLS,
    STEP_BYTES,
    TrainingPlan,
    plan_training,
)

__all__ = ["FALLBACK_BATCH", "STEP_BYTES", "TrainedRun", "plan_training", "run_training"]

# A state to resume from is written after an epoch when the last one is so old.
STATE_INTERVAL_S = 5.0


@dataclass(frozen=True)
class TrainedRun:
    """What a run came to.

    Attributes
    ----------
    folder : Path
    result : FitResult
    keys : tuple of str
        Videos scored.
    scores : ndarray (V,) float64
    metrics : dict
        Content of metrics.json.
    """

    folder: Path
    result: FitResult
    keys: tuple[str, ...]
    scores: np.ndarray
    metrics: dict[str, Any]

    def lines(self) -> list[str]:
        """Say in words what came out."""
        accuracy = ", ".join(
            f"{name} {value:.1%}" for name, value in self.metrics["accuracy"].items()
        )
        return [
            f"epoch {self.result.best_epoch} of {len(self.result.history)} "
            f"({self.metrics['protocol']})",
            f"pair accuracy: {accuracy}",
            f"{self.folder}: {', '.join(name for name in run_folder.FILES if name[:5] != 'state')}",
        ]


def run_training(
    plan: TrainingPlan, output: Path, device: str, threads: int, overwrite: bool, resume: bool
) -> TrainedRun:
    """Read the maps, fit, score, and write the run folder.

    Raises
    ------
    InputError
        The folder holds another run; the maps do not suit the variant; no such device.
    """
    run_folder.claim(output, overwrite, resume)
    if output.is_dir():
        sweep(output)
    place = parse_devices(device)[0]
    fingerprint = plan.fingerprint()
    state = ranker_state.load_state(output, fingerprint) if resume else None
    for line in plan.lines():
        log.info("%s", line)
    videos = read_maps(plan.features, scratch=output)
    row = {key: number for number, key in enumerate(videos.keys)}

    def rows_of(pairs: Sequence[Pair]) -> torch.Tensor:
        return torch.tensor([(row[pair.better], row[pair.worse]) for pair in pairs])

    if overwrite:  # The other files stand until the new run replaces them.
        (output / run_folder.STATE).unlink(missing_ok=True)
    with _threads(threads), _Saver(output, fingerprint, plan.train.epochs, state) as saver:
        try:
            result = fit(
                videos,
                rows_of(plan.train_pairs),
                rows_of(plan.validation_pairs) if plan.validation_pairs else None,
                plan.ranker,
                plan.train,
                plan.seed,
                saver.show,
                device=place,
                state=state,
                on_state=saver.save,
            )
        except ValueError as error:
            raise InputError(f"{plan.folder}: {error}") from error
        scored = score(result.model, videos, plan.ranker.segments, plan.train.sampling, place)
    metrics = _metrics(plan, result, scored.score, rows_of)
    _write(plan, output, result, scored.score, metrics)
    return TrainedRun(output, result, videos.keys, scored.score, metrics)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Saver:
    """Show each epoch, and write a state now and then and at the end."""

    def __init__(self, folder: Path, fingerprint: str, epochs: int, state: FitState | None) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.written = time.monotonic()
        self.last: FitState | None = None
        self.bar = progress(total=epochs, desc="train", unit="epoch")
        if state is not None:
            log.info("going on after epoch %d", state.epoch)
            self.bar.update(state.epoch)

    def __enter__(self) -> _Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.bar.close()
        if kind is None and self.last is not None:
            ranker_state.save_state(self.folder, self.last, self.fingerprint)

    def show(self, record: Record) -> None:
        shown = {name: f"{value:.3f}" for name, value in record.items() if name != "epoch"}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        log.debug("%s", ", ".join(f"{name} {value:.4g}" for name, value in record.items()))

    def save(self, state: FitState) -> None:
        self.last = state
        if time.monotonic() - self.written >= STATE_INTERVAL_S:
            ranker_state.save_state(self.folder, state, self.fingerprint)
            self.written = time.monotonic()


def _metrics(
    plan: TrainingPlan, result: FitResult, scores: np.ndarray, rows_of: Any
) -> dict[str, Any]:
    """Return the content of metrics.json."""
    accuracy = {"train": pair_accuracy(scores, rows_of(plan.train_pairs))}
    if plan.train.protocol == "validation":
        accuracy["validation"] = pair_accuracy(scores, rows_of(plan.validation_pairs))
    seen = set(plan.training_videos)
    by_unseen: dict[str, list[Pair]] = {"test": plan.test_pairs}
    for unseen, name in ((2, "both unseen"), (1, "one unseen"), (0, "both seen")):
        by_unseen[f"test, {name}"] = [
            pair
            for pair in plan.test_pairs
            if (pair.better not in seen) + (pair.worse not in seen) == unseen
        ]
    for name, pairs in by_unseen.items():
        if pairs:
            accuracy[name] = pair_accuracy(scores, rows_of(pairs))
    return {
        "protocol": PROTOCOLS[plan.train.protocol],
        "variant": plan.ranker.variant,
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "accuracy": accuracy,
        "pairs": {
            "train": len(plan.train_pairs),
            "validation": len(plan.validation_pairs) if plan.train.protocol != "authors" else 0,
            "test": len(plan.test_pairs),
        },
        "history": _named_history(plan, result),
    }


def _named_history(plan: TrainingPlan, result: FitResult) -> list[dict[str, Any]]:
    """Return the records with "test_…" for what the authors' protocol chose the epoch on."""
    authors = plan.train.protocol == "authors"
    rows: list[dict[str, Any]] = []
    for record in result.history:
        named = {
            name.replace("validation_", "test_") if authors else name: value
            for name, value in record.items()
        }
        rows.append(named | {"epoch": int(record["epoch"]), "protocol": plan.train.protocol})
    return rows


def _write(
    plan: TrainingPlan,
    output: Path,
    result: FitResult,
    scores: np.ndarray,
    metrics: dict[str, Any],
) -> None:
    """Write the run folder; the checkpoint last, so that it stands for a finished run."""
    keys = plan.features.keys
    label = PROTOCOLS[plan.train.protocol]
    ranking = run_folder.ranking(keys, scores, plan.features.parts)
    if plan.train.protocol == "authors":
        ranking = [row | {"protocol": label} for row in ranking]
    picture = draw_learning_curves(
        result.history,
        result.best_epoch,
        f"{plan.ranker.variant}: {label}",
        "test pairs" if plan.train.protocol == "authors" else "validation",
    )
    write_csv(output / "metrics.csv", metrics["history"])
    write_json(output / "metrics.json", metrics)
    write_bytes(output / "learning_curves.png", picture)
    write_csv(output / "scores.csv", ranking)
    if (plan.folder / STAGE_ONE).is_file():
        # With it the run is enough to score new videos.
        shutil.copyfile(plan.folder / STAGE_ONE, output / STAGE_ONE)
    about = describe_run(
        plan.ranker,
        plan.train,
        plan.features,
        snippet_stride=plan.snippet_stride,
        scores=scores,
        training_videos=plan.training_videos,
        protocol=label,
        best_epoch=result.best_epoch,
        seed=plan.seed,
    )
    about["accuracy"] = metrics["accuracy"]
    run_folder.write_checkpoint(output, result.model, about)

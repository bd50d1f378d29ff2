"""What a training leaves: its accuracies, the run folder, and its results in words."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from data.judgements.pairs import Pair
from model.ranker.scoring import pair_accuracy
from model.ranker.training import FitResult
from model.ranker.variants.blend import Blend
from pipeline.pictures.curves import draw_learning_curves
from pipeline.runner.files import published, write_bytes, write_csv, write_json
from pipeline.runs.folder import FILES, STATE, Run, ranking, write_checkpoint
from pipeline.runs.maps import pair_rows
from pipeline.runs.record import RunRecord, write_run_record
from pipeline.runs.training_accuracy import training_accuracy
from pipeline.stage_one.file import FILE_NAME as STAGE_ONE
from pipeline.train_ranker.plan import TrainingPlan


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A finished training.

    Attributes
    ----------
    run : Path
        The run folder.
    result : FitResult
    keys : tuple of str
        Videos scored.
    scores : ndarray (V,) float64
    metrics : dict
        Content of metrics.json.
    """

    run: Path
    result: FitResult
    keys: tuple[str, ...]
    scores: np.ndarray
    metrics: dict[str, Any]

    @property
    def ranking(self) -> list[dict[str, Any]]:
        """``video``, ``score``, ``rank`` and ``percentile``, best first."""
        return [
            row | {"score": float(row["score"]), "percentile": float(row["percentile"])}
            for row in ranking(self.keys, self.scores)
        ]

    @property
    def accuracy(self) -> dict[str, float]:
        """Shares of pairs in the right order: "train", and "validation" and "test" if there are."""
        return dict(self.metrics["accuracy"])

    @property
    def protocol(self) -> str:
        """How the epoch was chosen."""
        return str(self.metrics["protocol"])

    @property
    def epoch(self) -> int:
        """The epoch kept, counted from 1."""
        return self.result.best_epoch

    @property
    def history(self) -> Sequence[Any]:
        """One record an epoch."""
        return self.result.history

    def lines(self) -> list[str]:
        """Return the results in words."""
        accuracy = ", ".join(
            f"{name} {value:.1%}" for name, value in self.metrics["accuracy"].items()
        )
        cues = [model.in_words()] if isinstance(model := self.result.model, Blend) else []
        return [
            f"epoch {self.result.best_epoch} of {len(self.result.history)} "
            f"({self.metrics['protocol']})",
            f"pair accuracy: {accuracy}",
            *cues,
            f"{self.run}: {', '.join(name for name in FILES if name != STATE)}",
        ]


def metrics_of(plan: TrainingPlan, result: FitResult, scores: np.ndarray) -> dict[str, Any]:
    """Return the content of metrics.json."""
    authors = plan.settings.train.protocol == "authors"
    return {
        "protocol": plan.protocol,
        "variant": plan.settings.ranker.variant,
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "accuracy": _accuracy(plan, scores),
        "pairs": {
            "train": len(plan.train_pairs),
            "validation": 0 if authors else len(plan.validation_pairs),
            "test": len(plan.test_pairs),
        },
        "history": _named_history(plan, result),
    }


def _accuracy(plan: TrainingPlan, scores: np.ndarray) -> dict[str, float]:
    """Return the share of each kind of pairs that the scores order rightly."""
    kinds: dict[str, list[Pair]] = {}
    if plan.settings.train.protocol == "validation":
        kinds["validation"] = plan.validation_pairs
    trained = set(plan.training_videos)
    by_unseen: dict[int, list[Pair]] = {2: [], 1: [], 0: []}
    for pair in plan.test_pairs:
        by_unseen[(pair.better not in trained) + (pair.worse not in trained)].append(pair)
    kinds["test"] = plan.test_pairs
    for unseen, name in ((2, "both unseen"), (1, "one unseen"), (0, "both seen")):
        kinds[f"test, {name}"] = by_unseen[unseen]
    by_key = dict(zip(plan.features.keys, scores.tolist(), strict=True))
    training = {"train": training_accuracy(by_key, plan.train_pairs)}
    return training | {
        name: pair_accuracy(scores, pair_rows(pairs, plan.features.keys))
        for name, pairs in kinds.items()
        if pairs
    }


def _named_history(plan: TrainingPlan, result: FitResult) -> list[dict[str, Any]]:
    """Return the records with "test_…" for what the authors' protocol chose the epoch on."""
    protocol = plan.settings.train.protocol
    rows: list[dict[str, Any]] = []
    for record in result.history:
        named = {
            name.replace("validation_", "test_") if protocol == "authors" else name: value
            for name, value in record.items()
        }
        rows.append(named | {"epoch": int(record["epoch"]), "protocol": protocol})
    return rows


def write_run(
    plan: TrainingPlan, result: FitResult, scores: np.ndarray, metrics: dict[str, Any]
) -> None:
    """Write the run folder; the checkpoint last, so that it stands for a finished run."""
    settings, output = plan.settings, plan.settings.output
    authors = settings.train.protocol == "authors"
    rows = ranking(plan.features.keys, scores, plan.features.parts)
    picture = draw_learning_curves(
        result.history,
        result.best_epoch,
        f"{settings.ranker.variant}: {plan.protocol}",
        "test pairs" if authors else "validation",
    )
    write_csv(output / "metrics.csv", metrics["history"])
    write_json(output / "metrics.json", metrics)
    write_bytes(output / "learning_curves.png", picture)
    write_csv(
        output / "scores.csv",
        [row | {"protocol": plan.protocol} for row in rows] if authors else rows,
    )
    stage_one = settings.features / STAGE_ONE
    if stage_one.is_file():  # With it the run is enough to score new videos.
        with published(output / STAGE_ONE) as temporary:
            shutil.copyfile(stage_one, temporary)
    run = Run(
        model=result.model,
        ranker=settings.ranker,
        train=settings.train,
        shape=plan.features.shape,
        weights=plan.features.header.weights,
        parameters=plan.features.header.parameters,
        snippet_stride=settings.stride,
        parts=plan.features.parts,
        keys=plan.features.keys,
        feature_digests=plan.features.digests,
        scores=tuple(scores.tolist()),
        training_videos=tuple(plan.training_videos),
        protocol=plan.protocol,
        best_epoch=result.best_epoch,
        seed=settings.seed,
        accuracy=metrics["accuracy"],
    )
    write_checkpoint(output, run)


def write_record(plan: TrainingPlan, seconds: float) -> None:
    """Write what the run was made from, and how long it took."""
    authors = plan.settings.train.protocol == "authors"  # Its validation pairs are the test pairs.
    record = RunRecord(
        features=plan.settings.features,
        train=plan.train_pairs,
        validation=[] if authors else plan.validation_pairs,
        test=plan.test_pairs,
        seconds=seconds,
        agreement=plan.agreement,
        versions={name: version(name) for name in ("dexterank", "torch", "numpy")},
    )
    write_run_record(plan.settings.output, record)

"""Rankers of a cross-validation kept as run folders, so that `score --ensemble` can use them."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.ranker_plan import PROTOCOLS
from pipeline.run_folder import CHECKPOINT, write_checkpoint
from pipeline.stage_one import FILE_NAME as STAGE_ONE

if TYPE_CHECKING:
    from model.ranker.options import RankerOptions
    from model.ranker.scoring import Scores
    from model.ranker.training import FitResult
    from pipeline.evaluation_runs import CrossValidation, Run
    from pipeline.feature_set import FeatureSet


def ranker_folder(results: Path, run: Run) -> Path:
    """Folder of a kept ranker, beside the file of its result."""
    return results / run.file_name.removesuffix(".json")


def is_kept(results: Path, run: Run) -> bool:
    """Whether a run's ranker is there."""
    return (ranker_folder(results, run) / CHECKPOINT).is_file()


def keep_ranker(
    results: Path,
    plan: CrossValidation,
    run: Run,
    ranker: RankerOptions,
    found: FeatureSet,
    result: FitResult,
    scores: Scores,
    protocol: str,
) -> None:
    """Write one run's ranker as train-ranker writes its own, whole or not at all.

    Stage one's file, which all share, goes into the output folder once.
    """
    folder = ranker_folder(results, run)
    folder.mkdir(parents=True, exist_ok=True)
    shared = plan.output / STAGE_ONE
    if (plan.features / STAGE_ONE).is_file() and not shared.is_file():
        _copy(plan.features / STAGE_ONE, shared)
    about = {
        "ranker": asdict(ranker),
        "train": asdict(plan.train),
        "shape": list(found.shape),
        "weights": found.header.weights,
        "parameters": found.header.parameters,
        "snippet_stride": plan.snippet_stride,
        "parts": {key: list(part) for key, part in found.parts.items()},
        "keys": list(found.keys),
        "feature_digests": list(found.digests),
        "scores": scores.score.tolist(),
        "training_videos": sorted(plan.splits[run.fold].train_videos),
        "protocol": PROTOCOLS[protocol],
        "best_epoch": result.best_epoch,
        "seed": run.seed,
    }
    write_checkpoint(folder, result.model, about)


def _copy(source: Path, to: Path) -> None:
    """Copy a file whole; several workers may do so at once, with the same content."""
    from data.cache_files import temporary_name

    temporary = to.parent / temporary_name()
    try:
        shutil.copyfile(source, temporary)
        temporary.replace(to)
    finally:
        temporary.unlink(missing_ok=True)

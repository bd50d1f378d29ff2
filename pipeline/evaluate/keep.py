"""Rankers of a cross-validation kept as run folders, so that `score --ensemble` can use them."""

from __future__ import annotations

import filecmp
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.files import whole_file
from pipeline.runs.description import describe_run
from pipeline.runs.folder import CHECKPOINT, write_checkpoint
from pipeline.stage_one.file import FILE_NAME as STAGE_ONE
from pipeline.train_ranker.plan import PROTOCOLS

if TYPE_CHECKING:
    from model.ranker.options import RankerOptions
    from model.ranker.scoring import Scores
    from model.ranker.training import FitResult
    from pipeline.evaluate.runs import CrossValidation, Run
    from pipeline.runs.maps import FeatureSet

# `Run.file_name`.
_NAME = re.compile(r"(.+)-fold(\d+)-seed(\d+)\.json")


def ranker_folder(results: Path, run: Run) -> Path:
    """Folder of a kept ranker, beside the file of its result."""
    return results / run.file_name.removesuffix(".json")


def is_kept(results: Path, run: Run) -> bool:
    """Whether a run's ranker is there."""
    return (ranker_folder(results, run) / CHECKPOINT).is_file()


def outdated(plan: CrossValidation, runs: Sequence[Run]) -> tuple[Run, ...]:
    """Return finished runs beside `runs` that were made with other options, pairs or features.

    Beside new results they would be taken for theirs, for example by `score --ensemble`.
    """
    from pipeline.evaluate.runs import RUN_FOLDER, Run, is_current

    found = []
    for path in sorted((plan.output / RUN_FOLDER).glob("*.json")):
        if match := _NAME.fullmatch(path.name):
            run = Run(match[1], int(match[2]) - 1, int(match[3]))
            if run not in runs and not (run.fold < len(plan.splits) and is_current(plan, run)):
                found.append(run)
    return tuple(found)


def remove_run(results: Path, run: Run) -> None:
    """Remove a finished run, its result before its ranker."""
    (results / run.file_name).unlink(missing_ok=True)
    (ranker_folder(results, run) / CHECKPOINT).unlink(missing_ok=True)


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

    Stage one's file, which all share, goes into the output folder.
    """
    folder = ranker_folder(results, run)
    folder.mkdir(parents=True, exist_ok=True)
    if (plan.features / STAGE_ONE).is_file():
        _copy_changed(plan.features / STAGE_ONE, plan.output / STAGE_ONE)
    about = describe_run(
        ranker,
        plan.train,
        found,
        snippet_stride=plan.snippet_stride,
        scores=scores.score,
        training_videos=sorted(plan.splits[run.fold].train_videos),
        protocol=PROTOCOLS[protocol],
        best_epoch=result.best_epoch,
        seed=run.seed,
    )
    write_checkpoint(folder, result.model, about)


def _copy_changed(source: Path, to: Path) -> None:
    """Copy a file whole where the copy is not there or is of another set of features.

    Several workers may do so at once, with the same content.
    """
    if to.is_file() and filecmp.cmp(source, to, shallow=False):
        return
    with whole_file(to) as temporary:
        shutil.copyfile(source, temporary)

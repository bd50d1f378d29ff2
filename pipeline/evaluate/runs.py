"""One training of a cross-validation: the pairs it may see, its result, and its files.

Each run leaves ``runs/NAME.json``; with --keep-rankers also a run folder ``runs/NAME`` that
`score --ensemble` reads.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError, StaleCacheError
from data.judgements.pairs import Pair
from model.ranker.blending import fit_variant
from model.ranker.build import NEED_STREAMS
from model.ranker.options import own_protocol
from model.ranker.scoring import Scores, score
from model.ranker.training import FitResult
from model.ranker.videos import VideoMaps
from pipeline.evaluate.attention import measure_attention
from pipeline.evaluate.plan import EvaluationPlan, Run
from pipeline.runner.devices import parse_devices, torch_threads
from pipeline.runner.files import published, write_json
from pipeline.runs.choice import choose_pairs, ties_among
from pipeline.runs.features import FeatureSet
from pipeline.runs.folder import CHECKPOINT, write_checkpoint
from pipeline.runs.folder import Run as RankerRun
from pipeline.runs.maps import pair_rows, read_maps, ties_to_fit
from pipeline.runs.training_accuracy import training_accuracy
from pipeline.shell import console
from pipeline.stage_one.file import FILE_NAME as STAGE_ONE
from pipeline.train_ranker.plan import PROTOCOLS, fitting_batch, subjects

# `Run.name`.
_NAME = re.compile(r"(.+)-fold(\d+)-seed(\d+)")


def finished(plan: EvaluationPlan) -> set[Run]:
    """Return the runs that are done already.

    Raises
    ------
    StaleCacheError
        Results in the folder were made with other options, pairs or features.
    """
    if plan.settings.overwrite:
        return set()
    done: set[Run] = set()
    stale: dict[str, int] = {}
    for run in plan.runs:
        result = _read(plan, run)
        if result is None:
            continue
        changes = _changes(result.get("settings", {}), plan.record(run))
        if changes:
            stale[changes] = stale.get(changes, 0) + 1
        elif not plan.settings.options.keep_rankers or _checkpoint(plan, run).is_file():
            done.add(run)
    if stale:
        examples = "; ".join(f"{count} used {what}" for what, count in list(stale.items())[:3])
        raise StaleCacheError(
            f"{plan.settings.output}: holds results of another evaluation: {examples}; pass "
            "--overwrite or another --output"
        )
    return done


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in words how two records differ; empty where they agree."""
    changes = []
    for name in sorted({*old, *new}):
        before, now = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            changes.append(_changes(before, now))
        elif json.dumps(before) != json.dumps(now):
            digest = isinstance(now, str) and len(now) >= 16
            changes.append(f"other {name}" if digest else f"{name} {before}, you asked {now}")
    return ", ".join(filter(None, changes))


def is_current(plan: EvaluationPlan, run: Run) -> bool:
    """Whether a run's result exists and was made as the plan says."""
    result = _read(plan, run)
    return result is not None and not _changes(result.get("settings", {}), plan.record(run))


def outdated(plan: EvaluationPlan) -> list[Run]:
    """Return the runs whose results in the folder do not fit the plan.

    `score --ensemble` would average their rankers with the new ones.
    """
    runs = set(plan.runs)
    old = []
    for path in sorted(plan.results.glob("*.json")):
        if match := _NAME.fullmatch(path.stem):
            run = Run(variant=match[1], fold=int(match[2]) - 1, seed=int(match[3]))
            if run not in runs and not (run.fold < len(plan.splits) and is_current(plan, run)):
                old.append(run)
    return old


def read_result(plan: EvaluationPlan, run: Run) -> dict[str, Any]:
    """Return a finished run's result."""
    result = _read(plan, run)
    if result is None:
        raise InputError(f"{_result(plan, run)}: the result is gone")
    if "training_accuracy" not in result:  # An earlier version measured it on other pairs.
        fitted, _ = choose_pairs(plan.splits[run.fold], plan.settings.train, run.seed, plan.groups)
        result["training_accuracy"] = training_accuracy(result["scores"], fitted)
        result.pop("train_accuracy", None)
    return result


def _read(plan: EvaluationPlan, run: Run) -> dict[str, Any] | None:
    try:
        content = json.loads(_result(plan, run).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # Missing or damaged: the run is repeated.
    return content if isinstance(content, dict) and "scores" in content else None


def _result(plan: EvaluationPlan, run: Run) -> Path:
    return plan.results / f"{run.name}.json"


def _checkpoint(plan: EvaluationPlan, run: Run) -> Path:
    return plan.results / run.name / CHECKPOINT


def remove_run(plan: EvaluationPlan, run: Run) -> None:
    """Remove a finished run, its result before its ranker."""
    _result(plan, run).unlink(missing_ok=True)
    _checkpoint(plan, run).unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """A run's ranker, and its scores of all videos."""

    features: FeatureSet
    fit: FitResult
    scores: Scores
    protocol: str
    fitted: Sequence[Pair]


def carry_out(plan: EvaluationPlan, workers: int, parent: int, run: Run) -> None:
    """Train and score one run on one thread, and write its files.

    Parameters
    ----------
    plan : EvaluationPlan
    workers : int
        Processes that share the memory, each with maps of its own.
    parent : int
        Process that shows progress; others are silent.
    run : Run

    Raises
    ------
    InputError
        The maps do not suit the variant.
    """
    began = time.monotonic()
    if os.getpid() != parent:
        console.configure(verbosity=-1)
    streams = run.variant in NEED_STREAMS
    features, videos = plan.features[streams], _read_maps(plan, workers, streams=streams)
    with torch_threads(1):  # More make so small a network slower.
        trained = _train(plan, run, features, videos)
        attention = measure_attention(plan, run, features, videos, trained.scores)
    remove_run(plan, run)  # An earlier ranker does not belong to this result.
    if plan.settings.options.keep_rankers:
        _keep_ranker(plan, run, trained)
    fit = trained.fit
    scores = dict(zip(videos.keys, trained.scores.score.tolist(), strict=True))
    content = {
        "settings": plan.record(run),
        "variant": run.variant,
        "fold": plan.splits[run.fold].name,
        "seed": run.seed,
        "protocol": trained.protocol,
        "best_epoch": fit.best_epoch,
        "epochs": len(fit.history),
        "training_accuracy": training_accuracy(scores, trained.fitted),
        "seconds": round(time.monotonic() - began, 3),
        "attention": attention,
        "scores": scores,
    }
    write_json(_result(plan, run), content)


# One entry: a worker's runs use the same maps, and two sets may not fit into memory.
_kept_maps: dict[object, VideoMaps] = {}


def _read_maps(plan: EvaluationPlan, workers: int, *, streams: bool) -> VideoMaps:
    """Read the maps of all judged videos, once for all runs of a worker.

    Each worker may fill its share of the free memory; otherwise the maps are mapped from an
    unlinked file in the output folder.
    """
    spans = tuple(plan.spans.items())
    made_for = plan.settings, plan.keys, spans, plan.digest, streams, workers
    if made_for not in _kept_maps:
        _kept_maps.clear()
        features, scratch = plan.features[streams], plan.settings.output
        _kept_maps[made_for] = read_maps(features, workers=workers, scratch=scratch)
    return _kept_maps[made_for]


def _train(plan: EvaluationPlan, run: Run, features: FeatureSet, videos: VideoMaps) -> _Trained:
    """Fit one ranker to the pairs it may see, and score all videos."""
    settings = plan.settings
    ranker, ties = plan.ranker(run), settings.judgements.ties
    train = own_protocol(ranker, settings.train)
    split = plan.splits[run.fold]
    fitted, validation = choose_pairs(split, train, run.seed, plan.groups, features.same)
    device = parse_devices(settings.device)[0]
    train = fitting_batch(train, fitted, ranker.segments, features.shape)
    try:
        result = fit_variant(
            videos,
            pair_rows(fitted, videos.keys),
            pair_rows(validation, videos.keys) if validation else None,
            ranker,
            train,
            seed=run.seed,
            groups=subjects(videos.keys, plan.groups),
            device=device,
            ties=ties_to_fit(ties_among(plan.tied, fitted, ties), videos.keys, ties),
        )
    except ValueError as error:
        raise InputError(f"{run}: {error}") from error
    return _Trained(
        features=features,
        fit=result,
        scores=score(result.model, videos, ranker.segments, train.sampling, device),
        protocol=train.protocol if validation else "last",
        fitted=fitted,
    )


def _keep_ranker(plan: EvaluationPlan, run: Run, trained: _Trained) -> None:
    """Write one run's ranker as train-ranker writes its own, whole or not at all.

    Stage one's file, which all share, goes into the output folder.
    """
    settings = plan.settings
    stage_one = settings.features / STAGE_ONE
    if stage_one.is_file():
        _copy_changed(stage_one, settings.output / STAGE_ONE)
    features = trained.features
    ranker_run = RankerRun(
        model=trained.fit.model,
        ranker=plan.ranker(run),
        train=settings.train,
        shape=features.shape,
        weights=features.header.weights,
        parameters=features.header.parameters,
        snippet_stride=settings.snippet_stride,
        parts=features.parts,
        keys=features.keys,
        feature_digests=features.digests,
        scores=tuple(trained.scores.score.tolist()),
        training_videos=tuple(sorted(plan.splits[run.fold].train_videos)),
        protocol=PROTOCOLS[trained.protocol],
        best_epoch=trained.fit.best_epoch,
        seed=run.seed,
    )
    write_checkpoint(plan.results / run.name, ranker_run)


def _copy_changed(source: Path, to: Path) -> None:
    """Copy a file whole if the copy is missing or belongs to other features.

    Several workers may do this at once, with the same content.
    """
    if not (to.is_file() and filecmp.cmp(source, to, shallow=False)):
        with published(to) as temporary:
            shutil.copyfile(source, temporary)

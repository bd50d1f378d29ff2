"""Training a ranker by its plan, and writing the run folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.files import sweep
from data.judgements.pairs import Pair
from model.ranker.blending import blend_epochs, fit_variant
from model.ranker.scoring import pair_accuracy, score
from model.ranker.training import FitResult, FitState
from model.ranker.variants.blend import Blend
from model.ranker.videos import VideoMaps
from pipeline.pictures.curves import draw_learning_curves
from pipeline.runner.devices import parse_devices, torch_threads
from pipeline.runner.files import check_writable, published, write_bytes, write_csv, write_json
from pipeline.runs.folder import FILES, STATE, Run, ranking, write_checkpoint
from pipeline.runs.maps import pair_rows, read_maps, ties_to_fit
from pipeline.runs.record import RunRecord, read_run_record, write_run_record
from pipeline.runs.state import StateFile
from pipeline.runs.training_accuracy import training_accuracy, undertrained
from pipeline.shell.console import log, progress
from pipeline.shell.words import format_duration
from pipeline.stage_one.file import FILE_NAME as STAGE_ONE
from pipeline.train_ranker.plan import TrainingPlan

# A state to resume from is written after an epoch when the last one is so many seconds old.
STATE_INTERVAL = 5.0


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


def run_training(plan: TrainingPlan) -> TrainedRun:
    """Read the maps, fit, score, and write the run folder.

    Raises
    ------
    InputError
        The folder holds another run; the maps do not suit the variant; no such device.
    """
    settings, output = plan.settings, plan.settings.output
    began = time.monotonic()
    if output.is_dir():
        sweep(output)
    check_writable(output)  # Not only after hours of training.
    device = parse_devices(settings.device)[0]
    states = StateFile(output / STATE, FitState, plan.fingerprint(), STATE_INTERVAL)
    state = _saved(states) if settings.resume else None
    earlier_seconds = _recorded_seconds(output) if settings.resume else 0.0
    for line in plan.lines():
        log.info("%s", line)
    videos = read_maps(plan.features, scratch=output)
    if settings.overwrite:  # The other files stay until the new run replaces them.
        states.path.unlink(missing_ok=True)
    with torch_threads(settings.threads):
        result = _fit(plan, videos, device, states, state)
        segments, sampling = settings.ranker.segments, settings.train.sampling
        scores = score(result.model, videos, segments, sampling, device).score
    metrics = _metrics(plan, result, scores)
    _write(plan, result, scores, metrics)
    seconds = time.monotonic() - began
    write_run_record(output, _record(plan, seconds + earlier_seconds))
    log.info("trained in %s", format_duration(seconds))
    if line := undertrained(settings.preset, metrics["accuracy"]["train"]):
        log.warning("%s", line)
    return TrainedRun(run=output, result=result, keys=videos.keys, scores=scores, metrics=metrics)


def _saved(states: StateFile[FitState]) -> FitState | None:
    try:
        state = states.load()
    except InputError as error:
        raise InputError(
            f"{error}; give those of the run, or start over with --overwrite or another --output"
        ) from error
    if state is not None:
        log.info("going on after epoch %d", state.epoch)
    return state


def _recorded_seconds(folder: Path) -> float:
    """Return the time of the training that a resumed run goes on from, as far as recorded."""
    try:
        record = read_run_record(folder)
    except InputError:
        return 0.0
    return record.seconds if record else 0.0


def _fit(
    plan: TrainingPlan,
    videos: VideoMaps,
    device: str,
    states: StateFile[FitState],
    state: FitState | None,
) -> FitResult:
    """Fit from the start or from a state; save states now and then and at the end."""
    settings = plan.settings
    latest: FitState | None = None
    epochs = blend_epochs(settings.ranker, settings.train)
    with progress(total=epochs, desc="train", unit="epoch") as bar:
        bar.update(state.epoch if state else 0)

        def after_epoch(state: FitState) -> None:
            nonlocal latest
            latest = state
            record = state.history[-1]
            shown = {name: f"{value:.3f}" for name, value in record.items() if name != "epoch"}
            bar.set_postfix(shown, refresh=False)
            bar.update()
            log.debug("%s", ", ".join(f"{name} {value:.4g}" for name, value in record.items()))
            states.save(state)

        try:
            result = fit_variant(
                videos,
                pair_rows(plan.train_pairs, videos.keys),
                pair_rows(plan.validation_pairs, videos.keys) if plan.validation_pairs else None,
                settings.ranker,
                settings.train,
                seed=settings.seed,
                groups=plan.groups,
                device=device,
                ties=ties_to_fit(plan.tied_pairs, videos.keys, settings.judgements.ties),
                state=state,
                on_state=after_epoch,
            )
        except InputError:  # A state that cannot be written, for instance.
            raise
        except ValueError as error:
            raise InputError(f"{settings.features}: {error}") from error
    if latest is not None:
        states.write(latest)
    return result


def _metrics(plan: TrainingPlan, result: FitResult, scores: np.ndarray) -> dict[str, Any]:
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


def _write(
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


def _record(plan: TrainingPlan, seconds: float) -> RunRecord:
    authors = plan.settings.train.protocol == "authors"  # Its validation pairs are the test pairs.
    return RunRecord(
        features=plan.settings.features,
        train=plan.train_pairs,
        validation=[] if authors else plan.validation_pairs,
        test=plan.test_pairs,
        seconds=seconds,
        agreement=plan.agreement,
        versions={name: version(name) for name in ("dexterank", "torch", "numpy")},
    )

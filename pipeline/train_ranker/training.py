"""Training a ranker by its plan; `output.py` writes the run folder."""

from __future__ import annotations

import time
from pathlib import Path

from data.errors import InputError
from data.files import sweep
from model.ranker.blending import blend_epochs, fit_variant
from model.ranker.scoring import score
from model.ranker.training import FitResult, FitState
from model.ranker.videos import VideoMaps
from pipeline.runner.devices import parse_devices, torch_threads
from pipeline.runner.files import check_writable
from pipeline.runs.folder import STATE
from pipeline.runs.maps import pair_rows, read_maps, ties_to_fit
from pipeline.runs.record import read_run_record
from pipeline.runs.state import StateFile
from pipeline.runs.training_accuracy import undertrained
from pipeline.shell.console import log, progress
from pipeline.shell.words import format_duration
from pipeline.train_ranker.output import TrainedRun, metrics_of, write_record, write_run
from pipeline.train_ranker.plan import TrainingPlan

# A state to resume from is written after an epoch when the last one is so many seconds old.
STATE_INTERVAL = 5.0


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
    metrics = metrics_of(plan, result, scores)
    write_run(plan, result, scores, metrics)
    seconds = time.monotonic() - began
    write_record(plan, seconds + earlier_seconds)
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

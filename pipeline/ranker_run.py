"""A run of train-ranker: planned, carried out, written down."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.cache_files import sweep
from data.cache_header import canonical_json
from data.errors import InputError
from data.pairs import Pair, check_pairs, videos_of
from data.splits import hold_out
from model.ranker.options import RankerOptions, TrainOptions
from model.ranker.training import FitResult, FitState, Record, fit, pair_accuracy, score
from model.ranker.variants import NEED_STREAMS
from pipeline import run_folder
from pipeline.console import log, progress
from pipeline.feature_set import FeatureSet, find_feature_set, read_maps
from pipeline.forward import parse_devices
from pipeline.learning_curves import draw_learning_curves
from pipeline.stage_one import FILE_NAME as STAGE_ONE

# Where no batch size is given, all pairs make one step, up to so many bytes of maps.
STEP_BYTES = 4_000_000_000
FALLBACK_BATCH = 16
# A state to resume from is written after an epoch when the last one is so old.
STATE_INTERVAL_S = 5.0
# Measured on one core for `full` (0.2 s for 30 videos of 25 maps of 256×7×7): for estimates.
_SECONDS_A_VALUE = 2.2e-8

PROTOCOLS = {
    "validation": "epoch chosen on a validation share of the training videos",
    "last": "last epoch",
    "authors": "AUTHORS' PROTOCOL: epoch chosen on the test pairs, so their accuracy flatters",
}


@dataclass(frozen=True)
class TrainingPlan:
    """Everything decided before maps are read.

    Attributes
    ----------
    features : FeatureSet
        Videos of all pairs.
    train_pairs, validation_pairs, test_pairs : list of Pair
        By cache key. A validation pair names a held-out training video, or two.
        They are dropped from training, with all other pairs that name a held-out video.
    """

    folder: Path
    features: FeatureSet
    train_pairs: list[Pair]
    validation_pairs: list[Pair]
    test_pairs: list[Pair]
    training_videos: list[str]
    ranker: RankerOptions
    train: TrainOptions
    snippet_stride: int
    seed: int

    @property
    def crossing(self) -> int:
        """Validation pairs with one video among those trained on."""
        shown = set(videos_of(self.train_pairs))
        return sum(p.better in shown or p.worse in shown for p in self.validation_pairs)

    def lines(self) -> list[str]:
        """Say in words what will be trained on what."""
        found = self.features
        lines = [
            f"{len(found.keys)} videos, {found.snippets} snippets of "
            f"{'×'.join(map(str, found.shape))}, variant {self.ranker.variant}",
            f"{len(self.train_pairs)} training pairs of {len(videos_of(self.train_pairs))} videos",
        ]
        if self.snippet_stride > 1:
            fewest = min(len(rows) for rows in found.rows)
            lines.append(
                f"snippets at least {self.snippet_stride} frames apart: {fewest} or more a video "
                f"for {self.ranker.segments} segments"
            )
        if self.train.protocol == "validation":
            held = set(videos_of(self.validation_pairs)) - set(videos_of(self.train_pairs))
            lines.append(
                f"{len(self.validation_pairs)} pairs dropped from training and kept for "
                f"validation: they name {len(held)} held-out training videos, {self.crossing} of "
                "them beside a video that is trained on"
            )
        if self.test_pairs:
            lines.append(f"{len(self.test_pairs)} test pairs")
        return [*lines, f"protocol: {PROTOCOLS[self.train.protocol]}"]

    def seconds(self) -> float:
        """Estimate the time of all epochs on one core."""
        batches = -(-len(self.train_pairs) // (self.train.batch_pairs or len(self.train_pairs)))
        shown = min(len(videos_of(self.train_pairs)), 2 * len(self.train_pairs) // batches + 1)
        values = shown * batches * self.ranker.segments * float(np.prod(self.features.shape))
        return self.train.epochs * values * _SECONDS_A_VALUE

    def fingerprint(self) -> str:
        """Digest of all that decides the outcome, save how long training may go on."""
        options = asdict(self.train)
        for name in ("epochs", "patience"):
            options.pop(name)
        pairs = [self.train_pairs, self.validation_pairs, self.test_pairs]
        decisive = {
            "ranker": asdict(self.ranker),
            "train": options,
            "keys": self.features.keys,
            "content": self.features.digests,
            "pairs": [[[pair.better, pair.worse] for pair in each] for each in pairs],
            "stride": self.snippet_stride,
            "seed": self.seed,
        }
        return hashlib.sha256(canonical_json(decisive).encode()).hexdigest()


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


def plan_training(
    features: str | Path,
    pairs: Sequence[Pair],
    test_pairs: Sequence[Pair],
    ranker: RankerOptions,
    train: TrainOptions,
    groups: Mapping[str, str] | None,
    snippet_stride: int,
    seed: int,
) -> TrainingPlan:
    """Check everything that can be checked without reading maps, and split off validation.

    With `groups` (video to subject) whole subjects are held out.

    Raises
    ------
    InputError
        Contradictory pairs, unusable caches, options that do not fit.
    """
    if not pairs:
        raise InputError("no training pairs")
    if train.protocol == "authors" and not test_pairs:
        raise InputError("--protocol authors chooses the epoch on test pairs: give --test-pairs")
    for each in (pairs, test_pairs):
        _refuse_contradictions(each)
    _warn_of_shared(pairs, test_pairs)
    found = find_feature_set(
        features,
        videos_of([*pairs, *test_pairs]),
        ranker.segments,
        streams=ranker.variant in NEED_STREAMS,
        snippet_stride=snippet_stride,
    )
    fitted, validation = list(pairs), []
    if train.protocol == "authors":
        validation = list(test_pairs)
    elif train.protocol == "validation" and train.validation_share:
        if groups and not set(videos_of(pairs)) <= set(groups):
            log.info("not every video's subject is known: single videos are held out")
            groups = None
        try:
            split = hold_out(pairs, train.validation_share, seed, groups)
            fitted, validation = split.train, split.test
        except InputError as error:
            log.warning("%s; the last epoch is taken", error)
    if not validation:
        train = replace(train, protocol="last")
    return TrainingPlan(
        Path(features),
        found,
        fitted,
        validation,
        list(test_pairs),
        videos_of(pairs),
        ranker,
        _fitting_batch(train, fitted, found, ranker),
        snippet_stride,
        seed,
    )


def _fitting_batch(
    train: TrainOptions, pairs: Sequence[Pair], found: FeatureSet, ranker: RankerOptions
) -> TrainOptions:
    """Give a batch size where all pairs in one step would take too much memory."""
    step = len(videos_of(pairs)) * ranker.segments * int(np.prod(found.shape)) * 4
    if train.batch_pairs is not None or step <= STEP_BYTES:
        return train
    log.info("all pairs in one step would take too much memory: %d at a time", FALLBACK_BATCH)
    return replace(train, batch_pairs=FALLBACK_BATCH)


def _refuse_contradictions(pairs: Sequence[Pair]) -> None:
    if not pairs:
        return
    report = check_pairs(pairs)
    if report.contradictions:
        shown = "; ".join(f"{p.better} > {p.worse}" for p, _, _ in report.contradictions[:3])
        raise InputError(
            f"pairs judged in both directions: {len(report.contradictions)}, e.g. {shown}; "
            "keep one direction of each"
        )
    if report.cycles:
        log.warning("%s", "; ".join(report.lines()[1:]))


def _warn_of_shared(pairs: Sequence[Pair], test_pairs: Sequence[Pair]) -> None:
    seen = set(videos_of(pairs))
    known = sum(pair.better in seen and pair.worse in seen for pair in test_pairs)
    if known:
        log.warning(
            "%d of %d test pairs have both videos in training pairs: their accuracy flatters",
            known,
            len(test_pairs),
        )


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
    state = run_folder.load_state(output, fingerprint) if resume else None
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
            run_folder.save_state(self.folder, self.last, self.fingerprint)

    def show(self, record: Record) -> None:
        shown = {name: f"{value:.3f}" for name, value in record.items() if name != "epoch"}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()
        log.debug("%s", ", ".join(f"{name} {value:.4g}" for name, value in record.items()))

    def save(self, state: FitState) -> None:
        self.last = state
        if time.monotonic() - self.written >= STATE_INTERVAL_S:
            run_folder.save_state(self.folder, state, self.fingerprint)
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
    for pair in plan.test_pairs:
        unseen = (pair.better not in seen) + (pair.worse not in seen)
        name = ("both seen", "one unseen", "both unseen")[unseen]
        by_unseen.setdefault(f"test, {name}", []).append(pair)
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
    ranking = run_folder.ranking(keys, scores)
    if plan.train.protocol == "authors":
        ranking = [row | {"protocol": label} for row in ranking]
    picture = draw_learning_curves(
        result.history,
        result.best_epoch,
        f"{plan.ranker.variant}: {label}",
        "test pairs" if plan.train.protocol == "authors" else "validation",
    )
    run_folder.write_file(output / "metrics.csv", run_folder.csv_bytes(metrics["history"]))
    run_folder.write_file(output / "metrics.json", run_folder.json_bytes(metrics))
    run_folder.write_file(output / "learning_curves.png", picture)
    run_folder.write_file(output / "scores.csv", run_folder.csv_bytes(ranking))
    if (plan.folder / STAGE_ONE).is_file():
        # With it the run is enough to score new videos.
        shutil.copyfile(plan.folder / STAGE_ONE, output / STAGE_ONE)
    about = {
        "ranker": asdict(plan.ranker),
        "train": asdict(plan.train),
        "shape": list(plan.features.shape),
        "weights": plan.features.header.weights,
        "parameters": plan.features.header.parameters,
        "snippet_stride": plan.snippet_stride,
        "keys": list(keys),
        "feature_digests": list(plan.features.digests),
        "scores": scores.tolist(),
        "training_videos": plan.training_videos,
        "protocol": label,
        "accuracy": metrics["accuracy"],
        "best_epoch": result.best_epoch,
        "seed": plan.seed,
    }
    run_folder.write_checkpoint(output, result.model, about)

"""One training of a cross-validation: which pairs it may see, its result, and its small file."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.cache.header import canonical_json
from data.errors import InputError, StaleCacheError
from data.judgements.dataset import Span
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split
from model.ranker.options import RankerOptions, TrainOptions
from pipeline.runs.validation import choose_pairs
from pipeline.shell import console

if TYPE_CHECKING:
    from model.ranker.training import FitResult
    from model.ranker.videos import VideoMaps

SCHEMA = 3  # 3: attention is measured where a cell's receptive field has its centre
RUN_FOLDER = "runs"


@dataclass(frozen=True)
class Run:
    """One variant on one fold with one seed."""

    variant: str
    fold: int
    seed: int

    @property
    def file_name(self) -> str:
        """Name of the file that keeps its result."""
        return f"{self.variant}-fold{self.fold + 1}-seed{self.seed}.json"

    def __str__(self) -> str:
        return f"{self.variant}, fold {self.fold + 1}, seed {self.seed}"


@dataclass(frozen=True)
class CrossValidation:
    """Everything that the runs share; all videos are named by cache key.

    Attributes
    ----------
    features : Path
        Folder of feature caches.
    output : Path
        Folder of the results.
    keys : tuple of str
        Judged videos.
    digest : str
        Of the content of their caches.
    splits : tuple of Split
        Folds.
    groups : dict of str to str, or None
        Subject of each video, for the validation share.
    ranker, train : options
        Of every run; the variant is the run's.
    boxes : dict, or None
        For each key the boxes of its frames, (left, top, right, bottom) in [0, 1].
    spans : dict of str to Span
        Judged parts of videos of which not all was judged.
    keep_rankers : bool
        Whether each run's ranker is written beside its result.
    workers : int
        Processes that share the memory, each with maps of its own.
    parent : int
        Process that shows progress; others are silent.
    """

    features: Path
    output: Path
    keys: tuple[str, ...]
    digest: str
    splits: tuple[Split, ...]
    groups: Mapping[str, str] | None
    ranker: RankerOptions
    train: TrainOptions
    snippet_stride: int
    device: str
    boxes: Mapping[str, Mapping[int, tuple[float, ...]]] | None = None
    spans: Mapping[str, Span] = field(default_factory=dict)
    keep_rankers: bool = False
    workers: int = 1
    parent: int = field(default_factory=os.getpid)

    def settings(self, run: Run) -> dict[str, Any]:
        """Return all that decides a run's result, as JSON."""
        split = self.splits[run.fold]
        ranker = asdict(self.ranker) | {"variant": run.variant}
        return {
            "schema": SCHEMA,
            "seed": run.seed,
            "ranker": ranker,
            "train": asdict(self.train),
            "snippet stride": self.snippet_stride,
            "features": self.digest,
            "training pairs": _digest([[p.better, p.worse] for p in split.train]),
            "test pairs": _digest([[p.better, p.worse] for p in split.test]),
            "groups": _digest(dict(self.groups) if self.groups else None),
            "judged parts": _digest({key: asdict(span) for key, span in self.spans.items()}),
            "boxes": _digest(
                {key: dict(frames) for key, frames in self.boxes.items()} if self.boxes else None
            ),
        }


def _digest(content: object) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def finished(plan: CrossValidation, runs: Iterable[Run], overwrite: bool) -> set[Run]:
    """Return the runs whose results are there already.

    Raises
    ------
    StaleCacheError
        Results in the folder were made with other options, pairs or features.
    """
    from pipeline.evaluate.keep import is_kept

    done: set[Run] = set()
    stale: dict[str, int] = {}
    for run in runs:
        found = _read(plan.output / RUN_FOLDER / run.file_name)
        if found is None or overwrite:
            continue
        changes = _changes(found.get("settings", {}), plan.settings(run))
        if changes:
            stale[changes] = stale.get(changes, 0) + 1
        elif not plan.keep_rankers or is_kept(plan.output / RUN_FOLDER, run):
            done.add(run)
    if stale:
        told = "; ".join(f"{count} used {what}" for what, count in list(stale.items())[:3])
        raise StaleCacheError(
            f"{plan.output}: holds results of another evaluation: {told}; pass --overwrite or "
            "another --output"
        )
    return done


def _changes(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say in words how two settings differ; empty where they agree."""
    told = []
    for name in sorted({*found, *wanted}):
        old, new = found.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            if inner := _changes(old, new):
                told.append(inner)
        elif json.dumps(old) != json.dumps(new):
            digest = isinstance(new, str) and len(new) >= 16
            told.append(f"other {name}" if digest else f"{name} {old}, you asked {new}")
    return ", ".join(told)


def is_current(plan: CrossValidation, run: Run) -> bool:
    """Whether a run's result is there and was made as the plan says."""
    found = _read(plan.output / RUN_FOLDER / run.file_name)
    return found is not None and not _changes(found.get("settings", {}), plan.settings(run))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # not there, or cut off: the run is done again
    return content if isinstance(content, dict) and "scores" in content else None


def read_result(plan: CrossValidation, run: Run) -> dict[str, Any]:
    """Return a finished run's result."""
    result = _read(plan.output / RUN_FOLDER / run.file_name)
    if result is None:
        raise InputError(f"{plan.output / RUN_FOLDER / run.file_name}: the result is gone")
    return result


def carry_out(plan: CrossValidation, run: Run) -> None:
    """Train and score one run on one thread, and write its file.

    Raises
    ------
    InputError
        The maps do not suit the variant.
    """
    from model.ranker import training
    from pipeline.evaluate.attention import measure_attention
    from pipeline.evaluate.keep import keep_ranker, remove_run
    from pipeline.evaluate.maps import maps_of, one_thread
    from pipeline.runner.devices import parse_devices
    from pipeline.runner.files import write_json

    began = time.monotonic()
    fitted, validation = choose_pairs(plan.splits[run.fold], plan.train, run.seed, plan.groups)
    if os.getpid() != plan.parent:
        console.configure(verbosity=-1)
    found, videos = maps_of(plan, run.variant)
    ranker = replace(plan.ranker, variant=run.variant)  # type: ignore[arg-type]
    device = parse_devices(plan.device)[0]
    with one_thread():
        result = _fit(plan, run, videos, fitted, validation, ranker, device)
        scores = training.score(result.model, videos, ranker.segments, plan.train.sampling, device)
        attention = None
        if plan.boxes and scores.attention is not None:
            attention = measure_attention(plan, run, ranker, found, videos, scores)
    protocol = plan.train.protocol if validation else "last"
    results = plan.output / RUN_FOLDER
    remove_run(results, run)  # So that no earlier ranker stands beside this result.
    if plan.keep_rankers:
        keep_ranker(results, plan, run, ranker, found, result, scores, protocol)
    last = result.history[result.best_epoch - 1]
    content = {
        "settings": plan.settings(run),
        "variant": run.variant,
        "fold": plan.splits[run.fold].name,
        "seed": run.seed,
        "protocol": protocol,
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "train_accuracy": last["train_accuracy"],
        "seconds": round(time.monotonic() - began, 3),
        "attention": attention,
        "scores": {key: float(value) for key, value in zip(videos.keys, scores.score, strict=True)},
    }
    write_json(results / run.file_name, content)


def _fit(
    plan: CrossValidation,
    run: Run,
    videos: VideoMaps,
    fitted: Sequence[Pair],
    validation: Sequence[Pair],
    ranker: RankerOptions,
    device: str,
) -> FitResult:
    """Fit one ranker to the pairs it may see."""
    import torch

    from model.ranker import training
    from pipeline.train_ranker.plan import FALLBACK_BATCH, STEP_BYTES

    train = plan.train
    step = len(videos_of(fitted)) * ranker.segments * videos.maps[0].numel() * 4
    if train.batch_pairs is None and step > STEP_BYTES:
        train = replace(train, batch_pairs=FALLBACK_BATCH)
    row = {key: number for number, key in enumerate(videos.keys)}

    def rows(pairs: Sequence[Pair]) -> torch.Tensor:
        return torch.tensor([(row[pair.better], row[pair.worse]) for pair in pairs])

    try:
        return training.fit(
            videos,
            rows(fitted),
            rows(validation) if validation else None,
            ranker,
            train,
            run.seed,
            device=device,
        )
    except ValueError as error:
        raise InputError(f"{run}: {error}") from error

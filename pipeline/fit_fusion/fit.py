"""A fit of ConvFusion and ranker: stream maps read as needed, gone on with, and written down."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.cache.features import open_features
from data.cache.header import canonical_json
from data.errors import InputError
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split
from model.features.fusion import ConvFusion, random_fusion
from model.features.geometry import fused_side
from model.features.options import FusionOptions
from model.ranker.build import build
from model.ranker.joint import JointFit, JointState
from model.ranker.options import recorded_ranker
from model.ranker.scoring import ranges_of
from model.ranker.videos import VideoMaps
from pipeline.fit_fusion.settings import FusionSettings
from pipeline.pictures.curves import draw_learning_curves
from pipeline.runner.devices import parse_devices
from pipeline.runner.files import write_bytes, write_csv, write_safetensors
from pipeline.runs.choice import choose_pairs
from pipeline.runs.features import FeatureSet, find_feature_set
from pipeline.runs.judgements import Judgements
from pipeline.runs.maps import pair_rows
from pipeline.runs.state import StateFile
from pipeline.shell.console import log, progress
from pipeline.stage_one.file import load_fusion, load_statistics
from pipeline.stage_one.header import FUSION_FORMAT

UNFINISHED = ".unfinished"
# Seconds between two writes of the state, which is a few times the size of the checkpoint.
STATE_INTERVAL = 60.0


@dataclass(frozen=True, kw_only=True)
class FusionFit:
    """A finished fit.

    Attributes
    ----------
    path : Path
        The checkpoint that `extract-features --fusion` takes.
    history : list of dict
        One record an epoch.
    best_epoch : int
        The epoch kept, counted from 1.
    """

    path: Path
    history: list[dict[str, float]]
    best_epoch: int

    @property
    def summary(self) -> str:
        """The epoch kept, and its losses and accuracies."""
        record = self.history[self.best_epoch - 1]
        values = [f"{k.replace('_', ' ')} {v:.3f}" for k, v in record.items() if k != "epoch"]
        return f"epoch {self.best_epoch} of {len(self.history)}; {', '.join(values)}"


class StreamReader:
    """Reads stream maps by row; rows count the snippets of one video after the other.

    Maps that were read stay in memory as float16, up to a limit; beyond it each is read again.

    Parameters
    ----------
    features : FeatureSet
        Caches with stream maps.
    memory : float
        Bytes of stream maps kept at most.
    """

    def __init__(self, features: FeatureSet, memory: float) -> None:
        self.features = features
        self._files = ExitStack()
        self._caches = [self._files.enter_context(open_features(path)) for path in features.paths]
        self._start = features.start
        self._memory = memory
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> StreamReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def layout(self) -> VideoMaps:
        """Which snippet lies in which video and segment; without the maps themselves."""
        return VideoMaps(
            torch.empty(int(self._start[-1]), 0, 0, 0),
            torch.from_numpy(self._start),
            torch.from_numpy(np.concatenate(self.features.segment)),
            self.features.keys,
        )

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Stream maps of some rows: RGB and flow, (n, 2048, h, w) float16 each."""
        pairs = [self._read(int(row)) for row in rows]
        return torch.stack([rgb for rgb, _ in pairs]), torch.stack([flow for _, flow in pairs])

    def _read(self, row: int) -> tuple[Tensor, Tensor]:
        if row in self._kept:
            return self._kept[row]
        video = int(np.searchsorted(self._start, row, side="right")) - 1
        cache, snippet = self._caches[video], row - int(self._start[video])
        maps = (
            torch.from_numpy(cache.read_stream("rgb", snippet)),
            torch.from_numpy(cache.read_stream("flow", snippet)),
        )
        size = 2 * maps[0].numel() * maps[0].element_size()
        if (len(self._kept) + 1) * size <= self._memory:
            self._kept[row] = maps
        return maps


def run_fit(settings: FusionSettings, judgements: Judgements) -> FusionFit:
    """Fit from the start, or from the last saved state, and write checkpoint and curve.

    Raises
    ------
    InputError
        Caches without stream maps, of different origin, or of another stage one.
    """
    start, weights = load_fusion(settings.features)
    features = find_feature_set(
        settings.features, videos_of(judgements.train), settings.ranker.segments, streams=True
    )
    _check_weights(settings.features, features, weights)
    about = {
        "trunks": {name: weights[name] for name in ("rgb", "flow")},
        "start": weights["fusion"],
        "parameters": features.header.parameters,
        "ranker": recorded_ranker(settings.ranker),
        "train": asdict(settings.train),
        "seed": settings.seed,
        "training_videos": list(features.keys),
    }
    unfinished = settings.output.with_name(settings.output.name + UNFINISHED)
    fingerprint = _fingerprint(about, judgements.train, features.digests)
    states = StateFile(unfinished, JointState, fingerprint, STATE_INTERVAL)
    with StreamReader(features, settings.memory_gb * 1e9) as streams:
        fit = _prepare(streams, start, settings)
        state = _fit(fit, features, judgements, settings, states)
    about |= {"history": state.history, "best_epoch": state.best_epoch}
    _write(settings.output, state.best_fusion | load_statistics(settings.features), state, about)
    unfinished.unlink(missing_ok=True)
    return FusionFit(path=settings.output, history=state.history, best_epoch=state.best_epoch)


def _check_weights(folder: Path, features: FeatureSet, weights: Mapping[str, str]) -> None:
    """Refuse caches of another stage one than the folder's own."""
    for name in ("rgb", "flow", "fusion"):
        if features.header.weights.get(name) != weights[name]:
            raise InputError(
                f"{folder}: its caches were made with other {name} weights than its "
                "stage_one.safetensors; run extract-features again with --overwrite"
            )


def _fingerprint(about: Mapping[str, Any], pairs: Sequence[Pair], digests: Sequence[str]) -> str:
    """Digest of all that the fit depends on."""
    names = [[pair.better, pair.worse] for pair in pairs]
    decisive = {**about, "pairs": names, "content": list(digests)}
    return hashlib.sha256(canonical_json(decisive).encode()).hexdigest()


def _prepare(streams: StreamReader, start: nn.Module, settings: FusionSettings) -> JointFit:
    """Put networks and snippet ranges together; ConvFusion starts as the folder's own did."""
    ranker, train, seed = settings.ranker, settings.train, settings.seed
    channels, height, width = streams.features.shape
    if not isinstance(start, ConvFusion):  # PCA: there is no ConvFusion to start from.
        sizes = FusionOptions()
        start = random_fusion(channels // 2, sizes.fusion_hidden, sizes.fusion_channels, seed)
    sides = fused_side(height), fused_side(width)
    model = build(ranker, start.project.out_channels, *sides, seed)
    ranges = ranges_of(streams.layout(), ranker.segments, train.sampling)
    device = parse_devices(settings.device)[0]
    return JointFit(start, model, streams.read, ranges, train, seed=seed, device=device)


def _fit(
    fit: JointFit,
    features: FeatureSet,
    judgements: Judgements,
    settings: FusionSettings,
    states: StateFile[JointState],
) -> JointState:
    """Fit from the start, or from where an interrupted fit was last saved."""
    train, keys = settings.train, features.keys
    split = Split(judgements.train, [], "")
    fitted, validation = choose_pairs(split, train, settings.seed, judgements.groups, features.same)
    try:
        saved = states.load()
    except InputError as error:
        log.warning("%s; starting over", error)
        saved = None
    if saved is not None:
        fit.resume(saved)
        log.info("going on after epoch %d", saved.epoch)
    steps = (train.epochs - fit.state.epoch) * -(-len(fitted) // (train.batch_pairs or len(fitted)))
    with progress(total=steps, desc="fit-fusion", unit="step") as bar:

        def after_epoch(state: JointState) -> None:
            record = state.history[-1]
            shown = {name: f"{value:.3f}" for name, value in record.items() if name != "epoch"}
            bar.set_postfix(shown, refresh=False)
            log.debug("%s", ", ".join(f"{name} {value:.4g}" for name, value in record.items()))
            states.save(state)

        return fit.run(
            pair_rows(fitted, keys),
            pair_rows(validation, keys) if validation else None,
            after_epoch,
            bar.update,
        )


def _write(
    output: Path, tensors: Mapping[str, Tensor], state: JointState, about: Mapping[str, Any]
) -> None:
    """Write the curve, then the checkpoint, so that a checkpoint always has its curve."""
    curve = output.with_name(f"{output.stem}_curve")
    write_csv(curve.with_suffix(".csv"), state.history)
    title = "ConvFusion and ranker"
    picture = draw_learning_curves(state.history, state.best_epoch, title, "validation")
    write_bytes(curve.with_suffix(".png"), picture)
    write_safetensors(output, tensors, {"format": FUSION_FORMAT, **about})

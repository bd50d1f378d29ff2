"""A run of fit-fusion: networks put together, videos held out, and the fit gone on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from data.judgements.pairs import Pair
from data.judgements.splits import Split
from model.features.fusion import ConvFusion, random_fusion
from model.features.geometry import fused_side
from model.features.options import FusionOptions
from model.ranker.build import build
from model.ranker.joint import JointFit, JointState
from model.ranker.options import RankerOptions, TrainOptions
from model.ranker.scoring import ranges_of
from pipeline.fit_fusion.progress import Progress
from pipeline.runs.stream_set import StreamSet
from pipeline.runs.validation import choose_pairs
from pipeline.shell.console import log, progress


def prepare(
    streams: StreamSet,
    start: nn.Module,
    ranker: RankerOptions,
    train: TrainOptions,
    device: str,
    seed: int,
) -> JointFit:
    """Put networks and snippet ranges together; ConvFusion starts as the folder's own did."""
    channels, height, width = streams.map_size
    if not isinstance(start, ConvFusion):  # PCA: there is no ConvFusion to start from.
        sizes = FusionOptions()
        start = random_fusion(channels, sizes.fusion_hidden, sizes.fusion_channels, seed)
    sides = fused_side(height), fused_side(width)
    model = build(ranker, start.project.out_channels, *sides, seed)
    ranges = ranges_of(streams.layout(ranker.segments), ranker.segments, train.sampling)
    return JointFit(start, model, streams.read, ranges, train, seed, device)


def run(
    fit: JointFit,
    streams: StreamSet,
    pairs: Sequence[Pair],
    train: TrainOptions,
    seed: int,
    saved: Progress,
    groups: Mapping[str, str] | None,
) -> JointState:
    """Fit from the start, or from where an interrupted fit was last saved."""
    fitted, validation = choose_pairs(Split(list(pairs), [], ""), train, seed, groups)
    row = {key: number for number, key in enumerate(streams.keys)}

    def rows_of(some: Sequence[Pair]) -> Tensor:
        return torch.tensor([(row[pair.better], row[pair.worse]) for pair in some])

    train_rows = rows_of(fitted)
    validation_rows = rows_of(validation) if validation else None
    found = saved.find()
    if found is not None:
        fit.resume(found)
        log.info("going on after epoch %d", found.epoch)
    left = train.epochs - fit.state.epoch
    steps = left * -(-len(train_rows) // (train.batch_pairs or len(train_rows)))
    with progress(total=steps, desc="fit-fusion", unit="step") as bar:

        def show(state: JointState) -> None:
            record = state.history[-1]
            shown = {k: f"{v:.3f}" for k, v in record.items() if k != "epoch"}
            bar.set_postfix(shown, refresh=False)
            log.debug("%s", ", ".join(f"{k} {v:.4g}" for k, v in record.items()))
            saved.save(state)

        return fit.run(train_rows, validation_rows, show, bar.update)

"""Learn ConvFusion with the ranker on training pairs, to be frozen by extract-features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from data.judgements.options import DatasetOptions
from model.ranker.options import RankerOptions, TrainOptions, apply_preset
from pipeline.shell.console import emit
from pipeline.shell.flags import (
    build,
    common_options,
    configured_flags,
    dataclass_options,
    shared_options,
)
from pipeline.train_ranker.command import match_pairs, read_judgements

if TYPE_CHECKING:
    from data.judgements.pairs import Pair


@dataclass(frozen=True)
class FusionFit:
    """What fit-fusion made.

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


def fit_fusion(
    features: str | Path,
    train_pairs: Sequence[Pair],
    output: str | Path,
    ranker: RankerOptions | None = None,
    train: TrainOptions | None = None,
    device: str = "auto",
    seed: int = 0,
    memory_gb: float = 4.0,
    overwrite: bool = False,
    groups: Mapping[str, str] | None = None,
) -> FusionFit:
    """Train ConvFusion jointly with a ranker on training pairs, from cached stream maps.

    Parameters
    ----------
    features : path
        Output of `extract_features(..., keep_streams=True)`.
    train_pairs : sequence of Pair
        Training pairs only, named by cache keys; no other video is looked at.
    output : path
        The checkpoint (.safetensors). Beside it go `<stem>_curve.csv` and `<stem>_curve.png`, and
        while it runs `<output>.unfinished`, from which the same call goes on.
    ranker, train : options
        The ranker trained along, and how. Validation videos come from the training videos.
    device : str
        As for extract-features, one device.
    seed : int
    memory_gb : float
        Stream maps kept in memory at most.
    overwrite : bool
        Replace an earlier checkpoint.
    groups : mapping, optional
        Group of each video; validation holds out whole groups.

    Raises
    ------
    InputError
        Caches without stream maps or of different making; options that do not fit.
    """
    from data.judgements.pairs import videos_of
    from pipeline.fit_fusion.checkpoint import write_checkpoint
    from pipeline.fit_fusion.fit import prepare, run
    from pipeline.fit_fusion.progress import Progress
    from pipeline.runner.devices import parse_devices
    from pipeline.runs.stream_set import StreamSet
    from pipeline.stage_one.file import load_fusion

    output, features = Path(output), Path(features)
    ranker, train = ranker or RankerOptions(), train or TrainOptions()
    _check_options(output, ranker, train, overwrite)
    start, weights = load_fusion(features)
    streams = StreamSet(features, videos_of(train_pairs), memory_gb * 1e9)
    try:
        for name in ("rgb", "flow", "fusion"):
            if streams.header.weights.get(name) != weights[name]:
                raise InputError(
                    f"{features}: its caches were made with other {name} weights than its "
                    "stage_one.safetensors; run extract-features again with --overwrite"
                )
        fit = prepare(streams, start, ranker, train, parse_devices(device)[0], seed)
        about = {
            "trunks": {name: weights[name] for name in ("rgb", "flow")},
            "start": weights["fusion"],
            "parameters": streams.header.parameters,
            "ranker": asdict(ranker),
            "train": asdict(train),
            "seed": seed,
            "training_videos": list(streams.keys),
        }
        judged = [[pair.better, pair.worse] for pair in train_pairs]
        saved = Progress(output, {**about, "pairs": judged, "content": streams.digests()})
        state = run(fit, streams, train_pairs, train, seed, saved, groups)
    finally:
        streams.close()
    write_checkpoint(
        output, state, {**about, "history": state.history, "best_epoch": state.best_epoch}
    )
    saved.remove()
    return FusionFit(output, state.history, state.best_epoch)


def _check_options(
    output: Path, ranker: RankerOptions, train: TrainOptions, overwrite: bool
) -> None:
    from model.ranker.build import NEED_STREAMS
    from pipeline.runner.files import check_writable

    if output.suffix != ".safetensors":
        raise InputError(f"-o {output}: expected a file name that ends in .safetensors")
    if output.exists() and not overwrite:
        raise InputError(f"{output}: exists already; pass --overwrite or another --output")
    if ranker.variant in NEED_STREAMS:
        raise InputError(f"--variant {ranker.variant} has no ConvFusion to learn")
    if train.protocol == "authors":
        raise InputError(
            "--protocol authors chooses the epoch on test pairs, and fit-fusion sees none; "
            "use validation or last"
        )
    check_writable(output.parent)


EPILOG = """\b
Examples:
  pipeline extract-features videos/ --flow flow/ -o streams/ --keep-streams
  pipeline fit-fusion --features streams/ --pairs pairs.csv --fold 1 -o fusion.safetensors
  pipeline extract-features videos/ --flow flow/ -o features/ --fusion fusion.safetensors
"""


@click.command("fit-fusion", epilog=EPILOG)
@shared_options("features", help="Output of extract-features --keep-streams.")
@shared_options("pairs")
@click.option(
    "--fold",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Use the training pairs of this fold alone, counted from 1; 0 takes all pairs.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Checkpoint to write (.safetensors); its training curve goes beside it.",
)
@shared_options("preset")
@click.option(
    "--memory-gb",
    type=click.FloatRange(0),
    default=4.0,
    show_default=True,
    help="Stream maps kept in memory; the rest is read again each time.",
)
@dataclass_options(DatasetOptions)
@dataclass_options(RankerOptions)
@dataclass_options(TrainOptions)
@common_options("device", "overwrite", "seed")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Learn ConvFusion together with the ranker, on training pairs only.

    The checkpoint is for `extract-features --fusion FILE` with the same trunks. Give the same
    training pairs, or the same --fold, as to train-ranker: features that saw a test video would
    flatter every later result.
    """
    train = apply_preset(build(TrainOptions, params), params["preset"], configured_flags(ctx))
    pairs, groups = training_pairs(
        params["features"], params["pairs"], build(DatasetOptions, params), params["fold"]
    )
    result = fit_fusion(
        params["features"],
        pairs,
        params["output"],
        build(RankerOptions, params),
        train,
        params["device"],
        params["seed"],
        params["memory_gb"],
        params["overwrite"],
        groups,
    )
    record = result.history[result.best_epoch - 1]
    shown = ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in record.items() if k != "epoch")
    emit(f"{result.path}: epoch {result.best_epoch} of {len(result.history)}; {shown}")


def training_pairs(
    features: Path, pairs: Path, options: DatasetOptions, fold: int
) -> tuple[list[Pair], dict[str, str] | None]:
    """Return the training pairs of a fold (0: all pairs), and groups of videos, by cache keys.

    Differs from `train_ranker.read_judgements`: test videos need no cache, for none is read.

    Raises
    ------
    InputError
        No such fold, or names without a cache.
    """
    from data.cache.folder import find_caches
    from data.judgements.pairs import videos_of
    from data.judgements.reading import read_dataset
    from data.judgements.splits import group_of

    if fold == 0:
        judged = read_judgements(features, pairs, None, options, fold)
        return judged.train, judged.groups
    keys = list(find_caches(features, "features"))
    dataset = read_dataset(pairs, options)
    if fold > len(dataset.folds):
        raise InputError(f"--fold {fold}: {pairs} has {len(dataset.folds)} folds")
    known = dataset.match(keys).keys
    train = match_pairs(dataset.folds[fold - 1].train, keys, pairs, known)
    if options.group_by and not dataset.groups:
        return train, group_of(videos_of(train), options.group_by)
    groups = {known[name]: each for name, each in (dataset.groups or {}).items() if name in known}
    return train, groups or None

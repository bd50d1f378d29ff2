"""Stage two: train the ranker on cached maps, and only the ranker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from data.judgements.options import DatasetOptions
from model.ranker.options import (
    SNIPPET_STRIDE,
    RankerOptions,
    TrainOptions,
    apply_preset,
)
from pipeline.runs.judgements import (
    JudgementOptions,
    Judgements,
    match_pairs,
    read_judgements,
)
from pipeline.shell.console import emit, log
from pipeline.shell.flags import (
    build,
    common_options,
    configured_flags,
    dataclass_options,
    invoke_sibling,
    shared_options,
)
from pipeline.shell.words import format_bytes, format_duration

if TYPE_CHECKING:
    from data.judgements.dataset import Span
    from data.judgements.pairs import Pair
    from pipeline.train_ranker.plan import TrainingPlan
    from pipeline.train_ranker.training import TrainedRun

__all__ = ["Judgements", "command", "match_pairs", "read_judgements", "train_ranker"]


def train_ranker(
    features: str | Path,
    pairs: Sequence[Pair],
    output: str | Path,
    *,
    test_pairs: Sequence[Pair] = (),
    ranker: RankerOptions | None = None,
    train: TrainOptions | None = None,
    group_by: str | None = None,
    snippet_stride: int = 1,
    spans: Mapping[str, Span] | None = None,
    strict: bool = False,
    device: str = "cpu",
    threads: int = 1,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
) -> TrainedRun:
    """Train a ranker on the feature caches of the videos that pairs name, and write a run folder.

    Parameters
    ----------
    features : path
        Output of extract-features.
    pairs, test_pairs : sequence of Pair
        Named by cache keys (`match_pairs`). Test pairs are only judged at the end, except with
        `protocol="authors"`, which chooses the epoch on them.
    output : path
        Run folder: checkpoint.safetensors, metrics.csv, metrics.json, learning_curves.png,
        scores.csv, record.json (pairs, time, versions), and state.pt for `resume`.
    ranker, train : options
        What is trained, and how.
    group_by : str, optional
        Regular expression for the subject in a video's name: validation then holds out subjects.
    snippet_stride : int
        Use snippets at least so many frames apart.
    spans : mapping of str to Span, optional
        Judged parts of videos of which not all was judged: only their snippets are used, for
        training and for the scores.
    strict : bool
        Refuse pairs that contradict each other or form cycles, which are otherwise reported.
    device : str
        "auto", "cpu" or "cuda:n".
    threads : int
        CPU threads; results are the same, bit for bit, for the same number.
    seed : int
    overwrite, resume : bool
        Replace an earlier run, or go on with one; the end is the same as without a break.

    Raises
    ------
    InputError
        Anything that cannot be used; nothing was written.
    """
    from data.judgements.pairs import videos_of
    from data.judgements.splits import group_of
    from pipeline.train_ranker.plan import plan_training

    plan = plan_training(
        features,
        pairs,
        test_pairs,
        ranker or RankerOptions(),
        train or TrainOptions(),
        group_of(videos_of(pairs), group_by) if group_by else None,
        snippet_stride,
        seed,
        spans,
        strict,
    )
    return carry_out_training(plan, Path(output), device, threads, overwrite, resume)


def carry_out_training(
    plan: TrainingPlan, output: Path, device: str, threads: int, overwrite: bool, resume: bool
) -> TrainedRun:
    """Train, write the run folder, and record from which pairs and in what time.

    Raises
    ------
    InputError
        As `train_ranker`.
    """
    from pipeline.runs.record import record_run
    from pipeline.train_ranker.training import run_training

    began = time.monotonic()
    run = run_training(plan, output, device, threads, overwrite, resume)
    taken = time.monotonic() - began
    record_run(output, plan, taken, resumed=resume)
    log.info("trained in %s", format_duration(taken))
    return run


EPILOG = """\b
Examples:
  pipeline train-ranker --features features/ --pairs pairs.csv -o run/
  pipeline train-ranker --features features/ --pairs train.csv --test-pairs test.csv -o run/
  pipeline train-ranker --features features/ --pairs EPIC-Skills2018/ --task surgery --fold 1 \\
      --preset surgery -o run/
  pipeline train-ranker --features features/ --pairs pairs.csv --variant raan -o run/
"""


@click.command("train-ranker", epilog=EPILOG)
@shared_options("features", "pairs")
@click.option(
    "--test-pairs",
    type=click.Path(path_type=Path),
    help="Judgements to test on at the end; training never sees them.",
)
@click.option(
    "--fold",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Train and test on this fold of the data set, counted from 1; 0 trains on all pairs.",
)
@shared_options("preset", "snippet_stride")
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="CPU threads; more do not make so small a network faster.",
)
@shared_options("report")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, to the same end.")
@dataclass_options(RankerOptions)
@dataclass_options(TrainOptions)
@dataclass_options(DatasetOptions)
@dataclass_options(JudgementOptions)
@common_options("output", "device", "overwrite", "dry_run", "seed")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Train attention RNN, task RNN and score layer on cached features.

    Writes checkpoint, metrics (CSV and JSON), learning curves (PNG), and the scores and ranking
    of all videos that the pairs name (scores.csv). With --group-by the videos held out for
    validation are whole subjects. Where a data set says which part of a file was judged, only
    that part is used.
    """
    from pipeline.runs.folder import claim, claim_page
    from pipeline.train_ranker.plan import plan_training

    output: Path = params["output"]
    if params["overwrite"] and params["resume"]:
        raise InputError("--overwrite and --resume exclude each other: replace the run or go on")
    claim(output, params["overwrite"], params["resume"])
    again = params["overwrite"] or params["resume"]
    if params["report"]:
        claim_page(params["report"], again)
    explicit = configured_flags(ctx)
    if params["fold"] == 0 and {"folds", "fold_seed"} & explicit:
        log.warning("--folds and --fold-seed do nothing without --fold: all pairs are trained on")
    how = build(JudgementOptions, params)
    judged = read_judgements(
        params["features"],
        params["pairs"],
        params["test_pairs"],
        build(DatasetOptions, params),
        params["fold"],
        how.missing,
    )
    plan = plan_training(
        params["features"],
        judged.train,
        judged.test,
        build(RankerOptions, params),
        apply_preset(build(TrainOptions, params), params["preset"], explicit),
        judged.groups,
        params["snippet_stride"] or SNIPPET_STRIDE[params["preset"]],
        params["seed"],
        judged.spans,
        how.strict,
    )
    if params["dry_run"]:
        _emit_plan(plan, output)
        return
    run = carry_out_training(
        plan, output, params["device"], params["threads"], params["overwrite"], params["resume"]
    )
    for line in run.lines():
        emit(line)
    if params["report"]:
        page = {"output": params["report"], "features": params["features"], "overwrite": again}
        invoke_sibling(ctx, "report", run=output, **page)


def _emit_plan(plan: TrainingPlan, output: Path) -> None:
    """Say what would be done (`--dry-run`)."""
    for line in plan.lines():
        emit(line)
    emit(
        f"would read {format_bytes(plan.features.bytes)} of maps, train about "
        f"{format_duration(plan.seconds())} at most on one core, and write to {output}"
    )

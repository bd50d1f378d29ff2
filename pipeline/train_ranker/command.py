"""Stage two, `pipeline train-ranker`: train the ranker on cached maps, and only the ranker.

Read downwards: the function that does it, the flags, what is printed. The flags derive from
`settings.py`; `plan.py` checks and decides everything before a map is read; `training.py` trains,
and `output.py` writes the run folder.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from model.ranker.options import apply_preset
from pipeline.runs.folder import claim_page
from pipeline.shell.common import common_options, invoke_sibling
from pipeline.shell.console import emit, log
from pipeline.shell.flags import build, dataclass_options, explicit_flags
from pipeline.shell.words import format_bytes
from pipeline.train_ranker.settings import TrainSettings

if TYPE_CHECKING:
    from pipeline.train_ranker.output import TrainedRun


def train_ranker(settings: TrainSettings) -> TrainedRun:
    """Train a ranker on the feature caches of the videos that pairs name, and write a run folder.

    The folder gets checkpoint.safetensors, metrics.csv, metrics.json, learning_curves.png,
    scores.csv, record.json (pairs, time, versions), and state.pt to resume from. Test pairs are
    only used at the end, except with `protocol="authors"`, which chooses the epoch on them.

    Raises
    ------
    InputError
        Anything that cannot be used; nothing was written.
    """
    from pipeline.train_ranker.plan import plan_training
    from pipeline.train_ranker.training import run_training

    settings.check()
    return run_training(plan_training(settings, settings.read_judgements()))


EPILOG = """\b
Examples:
  pipeline train-ranker --features features/ --pairs pairs.csv -o run/
  pipeline train-ranker --features features/ --pairs train.csv --test-pairs test.csv -o run/
  pipeline train-ranker --features features/ --pairs EPIC-Skills2018/ --task surgery --fold 1 \\
      --preset surgery -o run/
  pipeline train-ranker --features features/ --pairs pairs.csv --variant raan -o run/
"""


@click.command("train-ranker", epilog=EPILOG)
@dataclass_options(TrainSettings)
@common_options("report", "dry_run")
@click.pass_context
def command(ctx: click.Context, /, report: Path | None, dry_run: bool, **params: Any) -> None:
    """Train attention RNN, task RNN and score layer on cached features.

    Writes checkpoint, metrics (CSV and JSON), learning curves (PNG), and the scores and ranking
    of all videos that the pairs name (scores.csv). With --group-by the videos held out for
    validation are whole subjects. Where a data set says which part of a file was judged, only
    that part is used.
    """
    explicit, settings = explicit_flags(ctx, config_file=True), build(TrainSettings, params)
    settings = replace(settings, train=apply_preset(settings.train, settings.preset, explicit))
    settings.check()
    replace_page = settings.overwrite or settings.resume
    if report:
        claim_page(report, replace_page)
    if settings.fold == 0 and {"folds", "fold_seed"} & explicit:
        log.warning("--folds and --fold-seed do nothing without --fold: all pairs are trained on")
    if dry_run:
        _emit_plan(settings)
        return
    for line in train_ranker(settings).lines():
        emit(line)
    if report:
        more = {"features": settings.features, "overwrite": replace_page}
        invoke_sibling(ctx, "report", run=settings.output, output=report, **more)


def _emit_plan(settings: TrainSettings) -> None:
    """Print what would be done (`--dry-run`)."""
    from pipeline.train_ranker.plan import memory_needed, plan_training

    plan = plan_training(settings, settings.read_judgements())
    train, segments = plan.settings.train, settings.ranker.segments
    need = memory_needed(plan.features, train, plan.train_pairs, segments)
    for line in plan.lines():
        emit(line)
    emit(f"would train {train.epochs} epochs at most, and write to {settings.output}")
    maps = format_bytes(plan.features.bytes)
    emit(f"memory: about {format_bytes(round(need, -7))}, {maps} of it maps")

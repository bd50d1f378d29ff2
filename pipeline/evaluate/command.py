"""Cross-validate rankers, and set them beside baselines and published numbers."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click

from data.errors import InputError
from data.judgements.options import DatasetOptions
from model.ranker.options import (
    SNIPPET_STRIDE,
    RankerOptions,
    TrainOptions,
    apply_preset,
)
from pipeline.evaluate.options import EvaluateOptions
from pipeline.runner.jobs import JobOptions, finish, run_jobs, take_shard
from pipeline.runs.judgements import JudgementOptions
from pipeline.shell.console import emit, emit_block, log
from pipeline.shell.flags import (
    build,
    common_options,
    configured_flags,
    dataclass_options,
    invoke_sibling,
    shared_options,
)

if TYPE_CHECKING:
    from pipeline.evaluate.plan import Evaluation
    from pipeline.evaluate.runs import Run
    from pipeline.evaluate.table import Table
    from pipeline.runner.jobs import Outcome

# The variant is asked for by `EvaluateOptions`, which takes several.
RankerSizes = dataclasses.make_dataclass(
    "RankerSizes",
    [
        (
            each.name,
            get_type_hints(RankerOptions)[each.name],
            dataclasses.field(default=each.default, metadata=each.metadata),
        )
        for each in dataclasses.fields(RankerOptions)
        if each.name != "variant"
    ],
    frozen=True,
)


def evaluate(
    features: str | Path,
    pairs: str | Path,
    output: str | Path,
    *,
    dataset: DatasetOptions | None = None,
    ranker: RankerOptions | None = None,
    train: TrainOptions | None = None,
    options: EvaluateOptions | None = None,
    judgements: JudgementOptions | None = None,
    jobs: JobOptions | None = None,
    snippet_stride: int = 1,
    device: str = "cpu",
    seed: int = 0,
    flow: Path | None = None,
    videos: Path | None = None,
    boxes: Path | None = None,
    scores: Path | None = None,
    overwrite: bool = False,
) -> tuple[Table | None, Outcome[Run, None]]:
    """Cross-validate variants over all folds and several seeds, and write the tables.

    Parameters
    ----------
    features, pairs : path
        Feature caches; a data set's folder, or a table of judgements.
    output : path
        Gets ``table.txt``, ``.csv``, ``.md``, ``.tex``, ``results.json``, ``baselines.csv``, with
        boxes ``attention.csv``, and ``runs/*.json``, one for each finished run, which are not done
        again.
    flow, videos : path, optional
        Flow caches and videos, for the baselines mean flow and brightness.
    boxes : path, optional
        CSV ``video,frame,x0,y0,x1,y1`` in [0, 1]: where attention should be.
    scores : path, optional
        CSV ``video,score``, for rank correlations where the judgements are pairs.

    Returns
    -------
    table : Table or None
        None where runs failed or are other shards' and the table would have holes.
    outcome : Outcome
        What became of each run that was to be done.

    Raises
    ------
    InputError
        Anything that cannot be used, before any training.
    """
    from pipeline.evaluate.plan import plan_evaluation

    found = plan_evaluation(
        Path(features),
        Path(pairs),
        Path(output),
        dataset or DatasetOptions(),
        ranker or RankerOptions(),
        train or TrainOptions(),
        options or EvaluateOptions(),
        judgements or JudgementOptions(),
        snippet_stride,
        device,
        seed,
        boxes,
        scores,
        overwrite,
    )
    return carry_out_evaluation(found, jobs or JobOptions(jobs=1), flow, videos)


def carry_out_evaluation(
    found: Evaluation, jobs: JobOptions, flow: Path | None, videos: Path | None
) -> tuple[Table | None, Outcome[Run, None]]:
    """Train what remains, then write the tables where all runs are there."""
    from pipeline.evaluate.keep import remove_run
    from pipeline.evaluate.output import tabulate
    from pipeline.evaluate.runs import RUN_FOLDER, carry_out, is_current
    from pipeline.runs.record import record_folds

    if found.skipped:
        log.warning("%s", found.skipped)
    results = found.plan.output / RUN_FOLDER
    results.mkdir(parents=True, exist_ok=True)
    for run in found.replaced:
        remove_run(results, run)
    remaining = [run for run in take_shard(found.runs, jobs.shard) if run not in found.done]
    log.info("%d runs, %d of them done already", len(found.runs), len(found.done))
    plan = dataclasses.replace(found.plan, workers=jobs.workers(len(remaining)))
    outcome = run_jobs(
        partial(carry_out, plan),
        remaining,
        dataclasses.replace(jobs, shard=None),
        desc="evaluate",
        unit="run",
    )
    present = [is_current(found.plan, run) for run in found.runs]
    if outcome.failures or not all(present):
        log.warning(
            "%d of %d runs are there: the tables are written when all are",
            sum(present),
            len(found.runs),
        )
        return None, outcome
    table = tabulate(found, jobs, flow, videos)
    record_folds(found)
    return table, outcome


EPILOG = """\b
Examples:
  pipeline evaluate --features features/ --pairs pairs.csv --folds 4 -o results/
  pipeline evaluate --features features/ --pairs EPIC-Skills2018/ --task surgery \\
      --preset surgery --variant full --variant no_att --variant raan -j 8 -o results/
  pipeline evaluate --features features/ --pairs pairs.csv --group-by '^([a-z]+)_' -o results/
"""


def _path(flag: str, text: str) -> Any:
    return click.option(flag, type=click.Path(path_type=Path), help=text)


@click.command("evaluate", epilog=EPILOG)
@shared_options("features", "pairs")
@_path("--flow", "Flow caches, for the baseline mean flow.")
@_path("--videos", "The videos, for the baseline brightness.")
@_path("--boxes", "CSV video,frame,x0,y0,x1,y1 in [0, 1]: measure attention against these boxes.")
@_path("--scores", "CSV video,score: rank correlations with these scores.")
@shared_options("report")
@_path("--run", "Run of train-ranker that --report shows beside this evaluation.")
@shared_options("preset", "snippet_stride")
@dataclass_options(EvaluateOptions)
@dataclass_options(DatasetOptions)
@dataclass_options(JudgementOptions)
@dataclass_options(RankerSizes)
@dataclass_options(TrainOptions)
@dataclass_options(JobOptions)
@common_options("output", "device", "overwrite", "dry_run", "seed")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Cross-validate rankers over folds and seeds, beside baselines and published numbers.

    Finished runs are kept in OUTPUT/runs and not done again, so that an interrupted evaluation
    goes on, and seeds and variants can be added.
    """
    from pipeline.evaluate.plan import plan_evaluation

    _check_report(params["run"], params["report"], params["overwrite"])
    sizes = dataclasses.asdict(build(RankerSizes, params))
    try:
        ranker = RankerOptions(**sizes)
    except ValueError as error:
        raise InputError(str(error)) from error
    found = plan_evaluation(
        params["features"],
        params["pairs"],
        params["output"],
        build(DatasetOptions, params),
        ranker,
        apply_preset(build(TrainOptions, params), params["preset"], configured_flags(ctx)),
        build(EvaluateOptions, params),
        build(JudgementOptions, params),
        params["snippet_stride"] or SNIPPET_STRIDE[params["preset"]],
        params["device"],
        params["seed"],
        params["boxes"],
        params["scores"],
        params["overwrite"],
    )
    _emit_dataset(found)
    if params["dry_run"]:
        if found.skipped:
            emit(found.skipped)
        emit(
            f"would train {len(found.runs) - len(found.done)} of {len(found.runs)} runs and "
            f"write to {found.plan.output}"
        )
        return
    jobs = build(JobOptions, params)
    table, outcome = carry_out_evaluation(found, jobs, params["flow"], params["videos"])
    if table is not None:
        emit_block(table.as_text())
        if params["report"]:
            invoke_sibling(
                ctx,
                "report",
                run=params["run"],
                output=params["report"],
                evaluation=params["output"],
                videos=params["videos"],
                jobs=params["jobs"],
                backend=params["backend"],
                scheduler=params["scheduler"],
                overwrite=True,
            )
    ctx.exit(finish(outcome))


def _check_report(run: Path | None, page: Path | None, overwrite: bool) -> None:
    """Refuse a page that could not be written, before any training.

    An earlier page is replaced as the tables are, so that an evaluation can go on.
    """
    from pipeline.runs.folder import claim_page, is_page, load_run

    if (run is None) != (page is None):
        raise InputError("--report shows a run beside the evaluation: give --run and --report")
    if run is not None and page is not None:
        claim_page(page, overwrite or is_page(page))
        load_run(run)


def _emit_dataset(found: Evaluation) -> None:
    from pipeline.evaluate.results import describe

    for line in describe(found.dataset):
        log.info("%s", line)

"""`pipeline evaluate`: cross-validate rankers, and compare them with baselines.

Read downwards: the function that does it, the flags, what it refuses.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from model.ranker.options import SNIPPET_STRIDE, apply_preset
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.runner.jobs import finish, run_jobs, take_shard
from pipeline.runner.stage import swept
from pipeline.runs.judgements import describe
from pipeline.shell.common import common_options, invoke_sibling
from pipeline.shell.console import emit, emit_block, log
from pipeline.shell.flags import build, dataclass_options, explicit_flags, shared_options
from pipeline.shell.words import counted, format_bytes

if TYPE_CHECKING:
    from pipeline.evaluate.plan import EvaluationPlan, Run
    from pipeline.evaluate.tables import Table
    from pipeline.runner.jobs import Outcome


def evaluate(settings: EvaluateSettings) -> tuple[Table | None, Outcome[Run, None]]:
    """Cross-validate variants over all folds and several seeds, and write the tables.

    The output folder gets ``table.txt``, ``.csv``, ``.md``, ``.tex``, ``results.json``,
    ``baselines.csv``, ``folds.json``, with boxes ``attention.csv``, and ``runs/*.json``, one for
    each finished run; finished runs are not done again.

    Returns
    -------
    table : Table or None
        None if runs failed or belong to other shards: the table would have holes.
    outcome : Outcome
        The runs that were done, and the failures.

    Raises
    ------
    InputError
        Anything that cannot be used, before any training.
    """
    from pipeline.evaluate.plan import plan_evaluation

    return carry_out_evaluation(plan_evaluation(settings))


def carry_out_evaluation(plan: EvaluationPlan) -> tuple[Table | None, Outcome[Run, None]]:
    """Train the remaining runs, and write the tables when all runs are done."""
    from pipeline.evaluate.output import tabulate
    from pipeline.evaluate.runs import carry_out, finished, is_current, outdated, remove_run

    runs, jobs, done = plan.runs, plan.settings.jobs, finished(plan)
    if plan.skipped:
        log.warning("%s", plan.skipped)
    plan.results.mkdir(parents=True, exist_ok=True)
    for run in outdated(plan) if plan.settings.overwrite else ():
        remove_run(plan, run)
    remaining = [run for run in take_shard(runs, jobs.shard) if run not in done]
    log.info("%d runs, %d of them done already", len(runs), len(done))
    with swept(plan.settings.output):
        outcome = run_jobs(
            partial(carry_out, plan, jobs.workers(len(remaining)), os.getpid()),
            remaining,
            replace(jobs, shard=None),
            desc="evaluate",
            unit="run",
        )
    current = sum(is_current(plan, run) for run in runs)
    if outcome.failures or current < len(runs):
        log.warning(
            "%d of %d runs are done: the tables are written when all are", current, len(runs)
        )
        return None, outcome
    return tabulate(plan), outcome


EPILOG = """\b
Examples:
  pipeline evaluate --features features/ --pairs pairs.csv --folds 4 -o results/
  pipeline evaluate --features features/ --pairs EPIC-Skills2018/ --task surgery \\
      --preset surgery --variant full --variant no_att --variant raan -j 8 -o results/
  pipeline evaluate --features features/ --pairs pairs.csv --group-by '^([a-z]+)_' -o results/
"""


@click.command("evaluate", epilog=EPILOG)
@dataclass_options(EvaluateSettings, without=("variant", "snippet_stride"))
@shared_options("snippet_stride")
@shared_options(
    "report", help="Also write a page about --run with this evaluation; see pipeline report."
)
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Run of train-ranker that --report shows with this evaluation.",
)
@common_options("dry_run")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Cross-validate rankers over folds and seeds; compare with baselines and published numbers.

    Finished runs are kept in OUTPUT/runs and not done again: an interrupted evaluation continues,
    and seeds and variants can be added.
    """
    from pipeline.evaluate.plan import plan_evaluation

    _check_report(params["run"], params["report"], params["overwrite"])
    plan = plan_evaluation(_settings(ctx))
    for line in describe(plan.dataset):
        log.info("%s", line)
    if params["dry_run"]:
        _emit_plan(plan)
        return
    table, outcome = carry_out_evaluation(plan)
    if table is not None:
        emit_block(table.as_text())
        if params["report"]:
            shared = ("videos", "jobs", "backend", "scheduler")
            invoke_sibling(
                ctx,
                "report",
                run=params["run"],
                output=params["report"],
                evaluation=params["output"],
                overwrite=True,
                **{name: params[name] for name in shared},
            )
    ctx.exit(finish(outcome))


def _emit_plan(plan: EvaluationPlan) -> None:
    """Print what would be done (`--dry-run`)."""
    from pipeline.evaluate.plan import memory_of_a_worker
    from pipeline.evaluate.runs import finished

    runs, jobs = take_shard(plan.runs, plan.settings.jobs.shard), plan.settings.jobs
    done = finished(plan)
    remaining = [run for run in runs if run not in done]
    if plan.skipped:
        emit(plan.skipped)
    emit(
        f"would train {len(remaining)} of {len(plan.runs)} runs, {plan.settings.train.epochs} "
        f"epochs at most each, and write to {plan.settings.output}"
    )
    if remaining:
        need = format_bytes(round(memory_of_a_worker(plan, remaining), -7))
        workers = counted(jobs.workers(len(remaining)), "worker")
        emit(f"memory: about {need} for each of {workers}, maps included")


def _settings(ctx: click.Context) -> EvaluateSettings:
    """Return what the user asked for; the preset gives the values that no flag sets."""
    settings, stride = build(EvaluateSettings, ctx.params), ctx.params["snippet_stride"]
    preset = settings.preset
    return replace(
        settings,
        train=apply_preset(settings.train, preset, explicit_flags(ctx, config_file=True)),
        snippet_stride=stride or SNIPPET_STRIDE[preset],
    )


def _check_report(run: Path | None, page: Path | None, overwrite: bool) -> None:
    """Refuse a page that cannot be written, before any training.

    An earlier page is replaced like the tables, so an evaluation can continue.
    """
    from pipeline.runs.folder import claim_page, is_page, load_run

    if (run is None) != (page is None):
        raise InputError("--report shows a run with the evaluation: give --run and --report")
    if run is not None and page is not None:
        claim_page(page, overwrite or is_page(page))
        load_run(run)

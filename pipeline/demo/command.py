"""`pipeline demo`: everything end to end, on synthetic videos whose skill is known.

Read downwards: the stages in order, each with the function that its command runs, then the flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import click

from data.errors import InputError
from data.sources import Source, find_sources
from pipeline.demo.options import DemoOptions, DemoResult
from pipeline.evaluate.command import evaluate
from pipeline.explain.command import ExplainOptions, explain
from pipeline.extract_features.command import extract_features
from pipeline.extract_features.settings import FeatureSettings
from pipeline.extract_flow.command import extract_flow
from pipeline.extract_flow.settings import FlowSettings
from pipeline.pictures.options import FilmOptions
from pipeline.report.command import write_report
from pipeline.report.content import ReportSettings
from pipeline.runner.devices import parse_devices
from pipeline.runner.jobs import JobOptions, Outcome, finish, run_jobs
from pipeline.runner.stage import StageOptions
from pipeline.runs.folder import claim_page, is_page, load_run
from pipeline.score.settings import NewVideoOptions
from pipeline.shell.common import common_options
from pipeline.shell.console import emit
from pipeline.shell.flags import build, dataclass_options
from pipeline.stage_one.networks import check_weights
from pipeline.train_ranker.command import train_ranker


def demo(options: DemoOptions, stage: StageOptions) -> DemoResult:
    """Generate the synthetic set, run all stages on it, and cross-validate.

    Finished work is kept: after an interruption, a second call continues and ends with the same
    numbers.

    Parameters
    ----------
    options : DemoOptions
        Sizes, seed and TV-L1 engine.
    stage : StageOptions
        Its `output` gets ``synthetic/``, ``flow/``, ``features/``, ``run/``, ``evaluation/``,
        ``explained/`` and ``report.html``; `overwrite` replaces results of other options.

    Raises
    ------
    InputError
        Options that cannot be used; results of other options, or another page, in the folder.
    """
    _check_weights(options, stage, download=True)
    result = DemoResult(folder=stage.output)
    claim_page(result.page, stage.overwrite or is_page(result.page))
    with result.timed("generate videos"):
        _generate(options, stage)
    sources = find_sources([stage.output / "synthetic" / "videos"])
    with result.timed("extract-flow"):
        result.collect(_extract_flow(sources, options, stage))
    with result.timed("extract-features"):
        result.collect(_extract_features(sources, options, stage))
    with result.timed("evaluate"):
        result.table, outcome = evaluate(options.evaluation(stage))
        result.collect(outcome)
    with result.timed("train-ranker"):
        train_ranker(options.training(stage))
    with result.timed("explain"):
        result.collect(_explain(sources, stage))
    with result.timed("report"):
        _report(result, stage.jobs)
    return result


def _check_weights(options: DemoOptions, stage: StageOptions, *, download: bool) -> None:
    """Refuse weights that cannot be used before anything is computed."""
    networks = _feature_settings(options, stage).networks(parse_devices(stage.device))
    check_weights(networks, download=download)


def _generate(options: DemoOptions, stage: StageOptions) -> None:
    from data.synthetic.plan import plan_set
    from data.synthetic.writer import prepare_folder, write_tables, write_video

    folder = stage.output / "synthetic"
    planned = plan_set(options.videos, options.seed, options.synthetic(), options.effects())
    if todo := prepare_folder(folder, planned, overwrite=stage.overwrite):
        write = partial(write_video, folder=folder)
        outcome = run_jobs(write, todo, stage.jobs, desc="videos", name=lambda video: video.name)
        if outcome.failures:
            raise InputError(outcome.failures[0][1])
    write_tables(folder, planned)


def _extract_flow(
    sources: Sequence[Source], options: DemoOptions, stage: StageOptions
) -> Outcome[Source, Any]:
    settings = FlowSettings.resolved(
        plan=options.plan(), flow=options.flow(), engine=options.engine, device=stage.device
    )
    return extract_flow(sources, settings, replace(stage, output=stage.output / "flow"))


def _extract_features(
    sources: Sequence[Source], options: DemoOptions, stage: StageOptions
) -> Outcome[Source, Any]:
    settings = _feature_settings(options, stage)
    return extract_features(sources, settings, replace(stage, output=stage.output / "features"))


def _feature_settings(options: DemoOptions, stage: StageOptions) -> FeatureSettings:
    return FeatureSettings(
        flow=stage.output / "flow", plan=options.plan(), trunk=options.trunk(), seed=options.seed
    )


def _explain(sources: Sequence[Source], stage: StageOptions) -> Outcome[Source, Any]:
    """Draw attention sheets of the best and the worst video that the ranker was not trained on."""
    run = load_run(stage.output / "run")
    scores = dict(zip(run.keys, run.scores, strict=True))
    unseen = [source for source in sources if source.key in scores.keys() - run.training_videos]
    unseen.sort(key=lambda source: -scores[source.key])
    return explain(
        stage.output / "run",
        unseen if len(unseen) < 2 else [unseen[0], unseen[-1]],
        stage.output / "explained",
        NewVideoOptions(
            features=stage.output / "features",
            flow=stage.output / "flow",
            jobs=stage.jobs,
            device=stage.device,
        ),
        ExplainOptions(film=FilmOptions(film=False)),
    )


def _report(result: DemoResult, jobs: JobOptions) -> None:
    settings = ReportSettings(
        evaluation=result.folder / "evaluation" if result.table is not None else None,
        videos=result.folder / "synthetic" / "videos",
        features=result.folder / "features",
        flow=result.folder / "flow",
        title="Demonstration: synthetic pick-and-place",
    )
    write_report(result.folder / "run", result.page, settings, jobs=jobs, overwrite=True)


EPILOG = """\b
Examples:
  pipeline demo -o demo/
  pipeline demo -o demo/ --videos 48 --seed 1
  pipeline demo -o demo/ --weights imagenet --input-size 448

\b
Run the same command again to continue after an interruption: finished work is kept.
"""


@click.command("demo", epilog=EPILOG)
@dataclass_options(DemoOptions)
@dataclass_options(JobOptions, without=("shard",))
@common_options("output", "device", "overwrite", "dry_run")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Run everything end to end on synthetic videos of known skill.

    Generates short videos of a gripper that carries objects with more or less skill, extracts
    flow and features, trains rankers on pairs, and tests them on videos they have not seen.
    """
    from pipeline.demo.summary import show_plan, summarise

    options, stage = build(DemoOptions, params), build(StageOptions, params)
    if stage.dry_run:
        _check_weights(options, stage, download=False)
        for line in show_plan(stage.output, options):
            emit(line)
        return
    result = demo(options, stage)
    for line in summarise(result, options):
        emit(line)
    ctx.exit(finish(Outcome(failures=list(result.failures))))

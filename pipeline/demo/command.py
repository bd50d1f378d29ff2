"""Everything end to end, on synthetic videos whose skill is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from pipeline.demo.options import DemoOptions
from pipeline.runner.jobs import JobOptions, Outcome, finish, run_jobs
from pipeline.shell.console import emit, log
from pipeline.shell.flags import build, common_options, dataclass_options, shared_options

if TYPE_CHECKING:
    from pipeline.evaluate.tables import Table


PAGE = "report.html"


@dataclass
class DemoResult:
    """What the demonstration came to.

    Attributes
    ----------
    folder : Path
        Where everything is.
    table : Table or None
        Of the cross-validation; None when trainings failed.
    seconds : dict of str to float
        Wall time of each stage, in order.
    failures : list
        Name and message of all that failed, over all stages.
    """

    folder: Path
    table: Table | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take a stage's time, and announce it."""
        log.info("%s", name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def collect(self, outcome: Outcome[Any, Any]) -> None:
        """Remember failures; without any success there is nothing to go on with."""
        self.failures += [
            (str(getattr(item, "key", item)), message) for item, message in outcome.failures
        ]
        if outcome.failures and not outcome.results:
            raise InputError(f"every item failed, e.g. {outcome.failures[0][1]}")


def demo(
    output: str | Path,
    options: DemoOptions | None = None,
    *,
    engine: str = "auto",
    jobs: JobOptions | None = None,
    device: str = "auto",
    overwrite: bool = False,
    seed: int = 0,
) -> DemoResult:
    """Generate the synthetic set, run all stages on it, and cross-validate.

    Every stage is the function that its command runs; what is finished is kept, so that a second
    call goes on after an interruption and ends with the same numbers.

    Parameters
    ----------
    output : path
        Gets ``synthetic/``, ``flow/``, ``features/``, ``run/``, ``evaluation/``,
        ``attention.png`` and ``report.html``, which shows all of it.
    options : DemoOptions, optional
        Sizes.
    engine : str
        TV-L1 engine, as `extract_flow` takes it.
    jobs : JobOptions, optional
        Workers.
    device : str
        Of the trunks.
    overwrite : bool
        Replace what was made with other options.
    seed : int
        Of the set, the random trunks, the folds and the rankers.

    Raises
    ------
    InputError
        Options that cannot be used; results of other options, or another page, in the folder.
    """
    from pipeline.runs.folder import claim_page, is_page

    options, jobs = options or DemoOptions(), jobs or JobOptions()
    found = DemoResult(Path(output))
    claim_page(found.folder / PAGE, overwrite or is_page(found.folder / PAGE))
    with found.stage("generate videos"):
        _generate(found, options, jobs, overwrite, seed)
    _extract(found, options, engine, jobs, device, overwrite, seed)
    with found.stage("cross-validate"):
        _cross_validate(found, options, jobs, overwrite, seed)
    with found.stage("train-ranker"):
        _train(found, options, overwrite, seed)
    with found.stage("draw attention"):
        _draw(found)
    with found.stage("write report"):
        _report(found, jobs)
    return found


def _generate(
    found: DemoResult, options: DemoOptions, jobs: JobOptions, overwrite: bool, seed: int
) -> None:
    from data.synthetic.writer import plan_set, prepare_folder, write_tables, write_video

    folder = found.folder / "synthetic"
    planned = plan_set(options.videos, seed, options.synthetic())
    todo = prepare_folder(folder, planned, overwrite=overwrite)
    if todo:
        write = partial(write_video, folder=folder)
        outcome = run_jobs(write, todo, jobs, desc="videos", name=lambda video: video.name)
        if outcome.failures:
            raise InputError(outcome.failures[0][1])
    write_tables(folder, planned)


def _extract(
    found: DemoResult,
    options: DemoOptions,
    engine: str,
    jobs: JobOptions,
    device: str,
    overwrite: bool,
    seed: int,
) -> None:
    from data.sources import find_sources
    from pipeline.extract_features.command import extract_features
    from pipeline.extract_flow.command import extract_flow
    from pipeline.extract_flow.settings import FlowSettings
    from pipeline.runner.stage import StageOptions

    sources = find_sources([found.folder / "synthetic" / "videos"])
    flow, plan = found.folder / "flow", options.plan()
    common: dict[str, Any] = {
        "plan": plan, "jobs": jobs, "device": device, "overwrite": overwrite, "seed": seed
    }  # fmt: skip
    with found.stage("extract-flow"):
        settings = FlowSettings.resolved(
            plan=plan, flow=options.flow(), engine=engine, device=device
        )
        where = StageOptions(output=flow, jobs=jobs, overwrite=overwrite)
        found.collect(extract_flow(sources, settings, where))
    with found.stage("extract-features"):
        found.collect(
            extract_features(
                sources, flow, found.folder / "features", trunk=options.trunk(), **common
            )
        )


def _cross_validate(
    found: DemoResult, options: DemoOptions, jobs: JobOptions, overwrite: bool, seed: int
) -> None:
    from data.judgements.options import DatasetOptions
    from pipeline.evaluate.command import evaluate
    from pipeline.evaluate.settings import EvaluateOptions, EvaluateSettings

    folder, synthetic = found.folder, found.folder / "synthetic"
    settings = EvaluateSettings(
        features=folder / "features",
        pairs=synthetic / "pairs.csv",
        output=folder / "evaluation",
        options=EvaluateOptions(
            seeds=options.trainings,
            flow=folder / "flow",
            videos=synthetic / "videos",
            boxes=synthetic / "boxes.csv",
            scores=synthetic / "skill.csv",
        ),
        dataset=DatasetOptions(folds=options.folds, fold_seed=seed),
        ranker=options.ranker(),
        train=options.train(),
        jobs=jobs,
        device="cpu",
        seed=seed,
        overwrite=overwrite,
    )
    found.table, outcome = evaluate(settings)
    found.collect(outcome)


def _train(found: DemoResult, options: DemoOptions, overwrite: bool, seed: int) -> None:
    """Train one ranker as train-ranker does; a quarter of the videos are kept for its test."""
    from data.cache.folder import find_caches
    from data.judgements.pairs import read_pairs
    from data.judgements.splits import k_fold_by_video
    from pipeline.train_ranker.command import match_pairs, train_ranker

    where = found.folder / "synthetic" / "pairs.csv"
    keys = list(find_caches(found.folder / "features", "features"))
    split = k_fold_by_video(match_pairs(read_pairs(where), keys, where), options.folds, seed)[0]
    train_ranker(
        found.folder / "features",
        split.train,
        found.folder / "run",
        test_pairs=split.test,
        ranker=options.ranker(),
        train=options.train(),
        seed=seed,
        overwrite=overwrite,
        resume=not overwrite,
    )


def _draw(found: DemoResult) -> None:
    from pipeline.demo.picture import draw_attention

    made = found.folder / "synthetic"
    draw_attention(
        found.folder / "run",
        found.folder / "features",
        made / "videos",
        made / "boxes.csv",
        found.folder / "attention.png",
    )


def _report(found: DemoResult, jobs: JobOptions) -> None:
    from pipeline.report.command import write_report
    from pipeline.report.content import ReportSettings

    folder = found.folder
    write_report(
        folder / "run",
        folder / PAGE,
        ReportSettings(
            evaluation=folder / "evaluation" if found.table is not None else None,
            videos=folder / "synthetic" / "videos",
            features=folder / "features",
            flow=folder / "flow",
            title="Demonstration: synthetic pick-and-place",
        ),
        jobs=jobs,
        overwrite=True,
    )


EPILOG = """\b
Examples:
  pipeline demo -o demo/
  pipeline demo -o demo/ --videos 48 --seed 1
  pipeline demo -o demo/ --weights imagenet --input-size 448

\b
Run the same command again to go on after an interruption: finished work is kept.
"""


@click.command("demo", epilog=EPILOG)
@dataclass_options(DemoOptions)
@shared_options("engine")
@dataclass_options(JobOptions)
@common_options("output", "device", "overwrite", "dry_run", "seed")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Run everything end to end on synthetic videos of a known skill.

    Generates short videos of a gripper that carries objects with more or less skill, extracts
    flow and features, trains rankers on pairs, and tests them on videos they have not seen.
    """
    from pipeline.demo.summary import show_plan, summarise

    options = build(DemoOptions, params)
    if params["seed"] < 0:
        raise InputError(f"--seed must not be negative, got {params['seed']}")
    if params["shard"]:
        raise InputError("demo runs in one piece: --shard is for the stages' own commands")
    if params["dry_run"]:
        for line in show_plan(params["output"], options, params["seed"]):
            emit(line)
        return
    found = demo(
        params["output"],
        options,
        engine=params["engine"],
        jobs=replace(build(JobOptions, params), shard=None),
        device=params["device"],
        overwrite=params["overwrite"],
        seed=params["seed"],
    )
    for line in summarise(found, options, params["seed"]):
        emit(line)
    ctx.exit(finish(Outcome(failures=list(found.failures))))

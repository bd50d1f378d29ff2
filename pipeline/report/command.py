"""One self-contained HTML page about a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from data.errors import InputError
from data.judgements.options import DatasetOptions
from pipeline.report.options import ReportOptions
from pipeline.runner.jobs import JobOptions
from pipeline.shell.console import emit
from pipeline.shell.flags import build, common_options, dataclass_options
from pipeline.shell.words import format_bytes


def write_report(
    run: str | Path,
    output: str | Path,
    *,
    evaluation: str | Path | None = None,
    pairs: str | Path | None = None,
    dataset: DatasetOptions | None = None,
    videos: str | Path | None = None,
    features: str | Path | None = None,
    flow: str | Path | None = None,
    title: str | None = None,
    options: ReportOptions | None = None,
    jobs: JobOptions | None = None,
    seconds: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one HTML file about a run that needs nothing else to be read.

    Parameters
    ----------
    run : path
        Run folder, or a checkpoint by its own path.
    output : path
        The page.
    evaluation : path, optional
        Output of evaluate, for cross-validated accuracy, baselines and published numbers.
    pairs : path, optional
        Judgements, for runs and evaluations that did not record theirs.
    dataset : DatasetOptions, optional
        How to read `pairs`, and the folds that evaluate drew.
    videos, features, flow : path, optional
        The videos and the caches, where they are no longer where the run or a cache says.
    title : str, optional
        Of the page; the run's name by default.
    options : ReportOptions, optional
    jobs : JobOptions, optional
        Workers that take pictures from the videos; one by default.
    seconds : mapping of str to float, optional
        Wall times of stages, where the caller measured them.
    overwrite : bool
        Replace a page that is there.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        The run or the evaluation cannot be read, or the page is there already.
    """
    from pipeline.report.content import gather
    from pipeline.report.page import render
    from pipeline.runner.files import write_text
    from pipeline.runs.folder import claim_page

    to = Path(output)
    claim_page(to, overwrite)
    content = gather(
        Path(run),
        evaluation=_path(evaluation),
        pairs=_path(pairs),
        dataset=dataset,
        videos=_path(videos),
        features=_path(features),
        flow=_path(flow),
        title=title,
        options=options or ReportOptions(),
        jobs=jobs or JobOptions(jobs=1),
        seconds=seconds,
        written=time.strftime("%Y-%m-%d %H:%M"),
    )
    write_text(to, render(content))
    return to


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


EPILOG = """\b
Examples:
  pipeline report run/ -o report.html
  pipeline report run/ --evaluation evaluation/ -o report.html
  pipeline report run/ --videos videos/ --features features/ --flow flow/ -o report.html

\b
The page holds its pictures and opens from disk, without a network or a server.
"""


def _option(flag: str, text: str) -> Any:
    return click.option(flag, type=click.Path(path_type=Path), help=text)


@click.command("report", epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The page to write, e.g. report.html.",
)
@_option("--evaluation", "Output of evaluate: cross-validated accuracy, baselines, folds.")
@_option("--pairs", "Judgements, for a run or an evaluation that did not record its own.")
@_option("--videos", "The videos, where they are not where they were.")
@_option("--features", "Feature caches, where they are not where they were.")
@_option("--flow", "Flow caches, where they are not beside the feature caches.")
@click.option("--title", help="Heading of the page; the run's name when not given.")
@dataclass_options(ReportOptions)
@dataclass_options(DatasetOptions)
@dataclass_options(JobOptions)
@common_options("overwrite")
def command(**params: Any) -> None:
    """Write one self-contained HTML page about RUN, a folder that train-ranker wrote.

    Shows what was run, the ranking with a picture of each video, pair accuracy with intervals,
    learning curves, the pairs it gets most wrong, where it looked, baselines, time and disk.
    """
    if params["shard"]:
        raise InputError("report runs in one piece: --shard is for stages that take hours")
    page = write_report(
        params["run"],
        params["output"],
        dataset=build(DatasetOptions, params),
        options=build(ReportOptions, params),
        jobs=replace(build(JobOptions, params), shard=None),
        **{
            name: params[name]
            for name in ("evaluation", "pairs", "videos", "features", "flow", "title", "overwrite")
        },
    )
    emit(f"{page}: {format_bytes(page.stat().st_size)}, opens in any browser")

"""`pipeline report`: one self-contained HTML page about a run.

Read downwards: the function that writes the page, the flags.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.report.content import ReportSettings
from pipeline.runner.jobs import JobOptions
from pipeline.shell.common import common_options
from pipeline.shell.console import emit
from pipeline.shell.flags import build, dataclass_options
from pipeline.shell.words import format_bytes


def write_report(
    run: str | Path,
    output: str | Path,
    settings: ReportSettings | None = None,
    *,
    jobs: JobOptions | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one self-contained HTML file about a run.

    Parameters
    ----------
    run : path
        Run folder, or a checkpoint by its own path.
    output : path
        The page.
    settings : ReportSettings, optional
        What the page shows.
    jobs : JobOptions, optional
        Workers that read pictures from the videos; one by default.
    overwrite : bool
        Replace an existing page.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        The run or the evaluation cannot be read, or the page already exists.
    """
    from pipeline.report.content import gather
    from pipeline.report.page import render
    from pipeline.runner.files import write_text
    from pipeline.runs.folder import claim_page

    page = Path(output)
    claim_page(page, overwrite)
    content = gather(Path(run), settings or ReportSettings(), jobs or JobOptions(jobs=1))
    write_text(page, render(content))
    return page


EPILOG = """\b
Examples:
  pipeline report run/ -o report.html
  pipeline report run/ --evaluation evaluation/ -o report.html
  pipeline report run/ --videos videos/ --features features/ --flow flow/ -o report.html

\b
The page holds its pictures and opens from disk, without a network or a server.
"""


@click.command("report", epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The page to write, e.g. report.html.",
)
@dataclass_options(ReportSettings)
@dataclass_options(JobOptions, without=("shard",))
@common_options("overwrite")
def command(**params: Any) -> None:
    """Write one self-contained HTML page about RUN, a folder that train-ranker wrote.

    Shows the ranking with a picture of each video, pair accuracy with intervals, baselines, the
    most wrong pairs, where the ranker looked, learning curves, and all options.
    """
    page = write_report(
        params["run"],
        params["output"],
        build(ReportSettings, params),
        jobs=build(JobOptions, params),
        overwrite=params["overwrite"],
    )
    emit(f"{page}: {format_bytes(page.stat().st_size)}, opens in any browser")

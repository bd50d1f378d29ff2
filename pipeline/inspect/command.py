"""`pipeline inspect`: what is in videos, caches, runs and judgements, and whether it is whole."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from pipeline.inspect.options import FlowPictureOptions, InspectOptions
from pipeline.shell.common import common_options
from pipeline.shell.console import emit_block, log
from pipeline.shell.flags import build, dataclass_options, explicit_flags

if TYPE_CHECKING:
    from pipeline.inspect.report import Report

EPILOG = """\b
Examples:
  pipeline inspect videos/ --each
  pipeline inspect flow/ features/ --verify
  pipeline inspect flow/clip.mp4.h5 --image clip.png
  pipeline inspect pairs.csv --features features/
  pipeline inspect pairs_*.csv --ranking
  pipeline inspect EPIC-Skills2018/ --task surgery
  pipeline inspect demo/ --json

\b
Exit code 0: no problems; 1: something is damaged, stale or unusable, listed at the end;
2: wrong usage.
"""


def inspect(paths: Sequence[str | Path], options: InspectOptions | None = None) -> list[Report]:
    """Report what is in videos, caches, folders, runs and judgements.

    Parameters
    ----------
    paths : sequence of path
        Anything that this program reads or writes.
    options : InspectOptions, optional

    Returns
    -------
    list of Report
        In the order of the paths; a report's `all_problems` is empty if there are none.

    Raises
    ------
    InputError
        A path does not exist.
    """
    from pipeline.inspect.kinds import inspect_paths

    options = options or InspectOptions()
    for folder, content in (
        (options.features, "folder of caches"),
        (options.flow, "folder of caches"),
        (options.videos, "videos"),
    ):
        if folder is not None and not folder.exists():
            raise InputError(f"{folder}: no such {content}")
    reports = inspect_paths(list(map(str, paths)), options)
    if options.ranking and not any("ranking" in each.facts or each.problems for each in reports):
        raise InputError("--ranking orders videos by judgements, and none of the paths holds any")
    return reports


@click.command("inspect", epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: a list of objects.")
@dataclass_options(InspectOptions)
@dataclass_options(FlowPictureOptions)
@common_options()
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[str, ...], as_json: bool, **params: Any) -> None:
    """Show what is in videos, caches, folders, runs, evaluations and judgements.

    A video is decoded whole, because its header may be wrong. For a cache, its content, its
    options and whether it is complete are shown; for a folder, a summary. Judgements are a table
    of pairs or scores, a folder of several judges' tables, or a published data set. Of several
    judges, the agreement between and within them is shown, and the accuracy that it leaves
    attainable.
    """
    picture = build(FlowPictureOptions, params)
    options = build(InspectOptions, params)
    if log.isEnabledFor(logging.DEBUG):
        options = dataclasses.replace(options, each=True)
    if picture.image is None:
        _refuse_picture_flags(ctx)
        reports = inspect(paths, options)
    else:
        from pipeline.inspect.flow_picture import add_picture, check_request

        check_request(paths, picture.image)
        reports = inspect(paths, options)
        add_picture(reports[0], Path(paths[0]), picture, options.videos)
    _show(reports, as_json)
    ctx.exit(_list_problems(reports))


def _refuse_picture_flags(ctx: click.Context) -> None:
    """Refuse flags that have no effect without a picture."""
    for field in dataclasses.fields(FlowPictureOptions):
        if field.name in explicit_flags(ctx):
            flag = "--" + field.name.replace("_", "-")
            raise click.UsageError(f"{flag} is about a picture: give --image OUT.png as well")


def _show(reports: Sequence[Report], as_json: bool) -> None:
    if as_json:
        from pipeline.inspect.report import document

        emit_block(document(reports))
        return
    for report in reports:
        emit_block(report.text())


def _list_problems(reports: Sequence[Report]) -> int:
    """List the problems after everything else, and return the exit code."""
    problems = [problem for report in reports for problem in report.all_problems]
    if not problems:
        return 0
    log.error("%d found damaged, stale or unusable:", len({path for path, _ in problems}))
    for path, problem in problems:
        log.error("  %s: %s", path, problem)
    return 1

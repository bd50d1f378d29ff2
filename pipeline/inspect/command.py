"""`pipeline inspect`: what is in videos, caches, runs and judgements, and whether it is whole."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from data.judgements.options import DatasetOptions
from pipeline.inspect.picture_options import FlowPictureOptions
from pipeline.shell.console import emit_block, log
from pipeline.shell.flags import build, common_options, dataclass_options

if TYPE_CHECKING:
    from pipeline.inspect.report import Report

EPILOG = """\b
Examples:
  pipeline inspect videos/ --each
  pipeline inspect flow/ features/ --verify
  pipeline inspect flow/clip.mp4.h5 --image clip.png
  pipeline inspect pairs.csv --features features/
  pipeline inspect EPIC-Skills2018/ --task surgery
  pipeline inspect demo/ --json

\b
Exit code 0: all is well; 1: something is damaged, stale or unusable, listed at the end;
2: wrong usage.
"""


def inspect(
    paths: Sequence[str | Path],
    *,
    verify: bool = False,
    each: bool = False,
    strict: bool = False,
    jobs: int = -1,
    dataset: DatasetOptions | None = None,
    features: str | Path | None = None,
    flow: str | Path | None = None,
    videos: str | Path | None = None,
) -> list[Report]:
    """Find out what is in videos, caches, folders, runs and judgements.

    Parameters
    ----------
    paths : sequence of path
        Anything that this program reads or writes.
    verify : bool
        Read caches whole and compare digests, and those of their source videos.
    each : bool
        Decode the videos of folders, and keep the reports of all files for showing.
    strict : bool
        Damaged and miscounted videos are problems, not warnings.
    jobs : int
        Workers for many files.
    dataset : DatasetOptions
        How judgements are read.
    features : path, optional
        Feature caches whose names judgements are compared with.
    flow : path, optional
        Flow caches that feature caches were made from; those among `paths` are known anyway.
    videos : path, optional
        Where the source videos of caches are, if they are no longer at their place.

    Returns
    -------
    list of Report
        In the order of the paths; a report's `all_problems` is empty where all is well.

    Raises
    ------
    InputError
        A path does not exist.
    """
    from pipeline.inspect.kinds import Look, flow_caches, inspect_paths
    from pipeline.inspect.verify import Upstream

    given = [str(path) for path in paths]
    for folder, what in (
        (features, "folder of caches"),
        (flow, "folder of caches"),
        (videos, "videos"),
    ):
        if folder is not None and not Path(folder).exists():
            raise InputError(f"{folder}: no such {what}")
    look = Look(
        verify=verify,
        each=each,
        strict=strict,
        jobs=jobs,
        dataset=dataset or DatasetOptions(),
        features=None if features is None else Path(features),
        videos=None if videos is None else Path(videos),
        upstream=Upstream.of(flow_caches([*given, *([] if flow is None else [flow])])),
    )
    return inspect_paths(given, look)


@click.command("inspect", epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--verify",
    is_flag=True,
    help="Read caches whole and compare their digests; hash the source videos again.",
)
@click.option(
    "--each",
    is_flag=True,
    help="Decode all videos of a folder, and show a line for each file; also with -v.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: a list of objects.")
@click.option(
    "--features",
    type=click.Path(path_type=Path),
    help="Feature caches: say which judged names are there.",
)
@click.option(
    "--flow",
    type=click.Path(path_type=Path),
    help="Flow caches: say whether features were made from them as they are now.",
)
@click.option(
    "--videos",
    type=click.Path(path_type=Path),
    help="Where the caches' source videos are now, if they were moved: a folder, or the video.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.INT,
    default=-1,
    show_default="all cores",
    help="Workers, where there are many files to read.",
)
@click.option(
    "--image",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.png",
    help="Draw one pair of a flow cache (one PATH), beside the video's frame.",
)
@dataclass_options(FlowPictureOptions)
@dataclass_options(DatasetOptions)
@common_options("strict")
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[str, ...], **params: Any) -> None:
    """Say what is in videos, caches, folders, runs, evaluations and judgements.

    A video is decoded whole, because headers are not to be trusted. A cache says what it holds,
    how it was made, and whether it is complete; a folder is summed up. Judgements are a table
    of pairs or scores, or a published data set.
    """
    image: Path | None = params["image"]
    if image is not None:
        from pipeline.inspect.flow_picture import check_request

        check_request(paths, image)
    else:
        _refuse_picture_options(ctx)
    each = params["each"] or log.isEnabledFor(logging.DEBUG)
    reports = inspect(
        paths,
        verify=params["verify"],
        each=each,
        strict=params["strict"],
        jobs=params["jobs"],
        dataset=build(DatasetOptions, params),
        features=params["features"],
        flow=params["flow"],
        videos=params["videos"],
    )
    if image is not None and not reports[0].problems:
        from pipeline.inspect.flow_picture import draw_flow

        drawn = draw_flow(
            Path(paths[0]), image, build(FlowPictureOptions, params), params["videos"]
        )
        reports[0].facts["image"] = drawn.facts
        reports[0].add("image", drawn.words)
    _show(reports, params["as_json"])
    ctx.exit(_list_problems(reports))


def _refuse_picture_options(ctx: click.Context) -> None:
    """Refuse flags that would do nothing because no picture is asked for."""
    for field in dataclasses.fields(FlowPictureOptions):
        if ctx.get_parameter_source(field.name) is click.core.ParameterSource.COMMANDLINE:
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
    """List at the end what is broken, and return the exit code."""
    found = [problem for report in reports for problem in report.all_problems]
    if not found:
        return 0
    log.error("%d found damaged, stale or unusable:", len({path for path, _ in found}))
    for path, problem in found:
        log.error("  %s: %s", path, problem)
    return 1

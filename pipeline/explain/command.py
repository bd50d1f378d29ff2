"""Where in the frame a run looked, and when: contact sheets and moving overlays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from pipeline.explain.options import ExplainOptions
from pipeline.pictures.attention import OverlayOptions
from pipeline.runner.jobs import JobOptions, Outcome, finish
from pipeline.score.options import (
    ATTENTION,
    CACHE,
    Making,
    check_run,
    make_folder,
    making_options,
    without_overlays,
)
from pipeline.shell.console import emit, log, progress
from pipeline.shell.flags import build, common_options, dataclass_options

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.explain.look import Look
    from pipeline.score.run import Member, Scored


@dataclass(frozen=True)
class Explained:
    """What was drawn of one video.

    Attributes
    ----------
    sheet : Path
        The contact sheet.
    overlay : Path or None
        The moving overlay; None where none was asked for.
    look : Look
        What they show.
    """

    sheet: Path
    overlay: Path | None
    look: Look


def explain(
    run: str | Path,
    sources: Sequence[Source],
    output: str | Path,
    making: Making | None = None,
    options: ExplainOptions | None = None,
    overlay: OverlayOptions | None = None,
) -> Outcome[Source, Explained]:
    """Draw where a run looked at some videos.

    Parameters
    ----------
    run : path
        Output of train-ranker.
    sources : sequence of Source
        As `data.sources.find_sources` gives them.
    output : path
        Gets ``<key>.attention.png`` and, by format, ``<key>.attention.mp4``, in place of earlier
        ones.
    making : Making, optional
        How features are made, and where they may be there already; those made are kept in
        ``<output>/cache`` where it names no other folder.
    options, overlay : options, optional
        What is drawn, and its colours.

    Returns
    -------
    Outcome
        One `Explained` a video, in the order of the sources, and the failures.

    Raises
    ------
    InputError
        The run cannot be used, or its ranker has no attention over the frame.
    """
    from pipeline.pictures.attention import colour_table
    from pipeline.score.features import make_features
    from pipeline.score.members import stage_one_of
    from pipeline.score.recipe import find_recipe
    from pipeline.score.run import Member

    output = Path(output)
    making = making or Making()
    making = making if making.cache is not None else replace(making, cache=output / CACHE)
    options, overlay = options or ExplainOptions(), overlay or OverlayOptions()
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: a file; --output must be a folder")
    colour_table(overlay.colours)
    member = Member.load(Path(run))
    check_attention(member)
    recipe = find_recipe(member.run, member.folder, making, stage_one_of(member))
    make_folder(output, "--output")
    made = make_features(sources, recipe, making, with_flow=making.features is None)
    scored = member.score([each for _, each in made.results], making.device) if made.results else []
    outcome: Outcome[Source, Explained] = Outcome(failures=list(made.failures))
    bar = progress(total=len(scored), desc="draw", unit="video")
    with bar:
        for (source, _), seen in zip(made.results, scored, strict=True):
            try:
                outcome.results.append((source, _draw(member, seen, output, options, overlay)))
            except InputError as error:
                log.warning("%s: %s", source.key, error)
                outcome.failures.append((source, str(error)))
            bar.update()
    return outcome


def check_attention(member: Member) -> None:
    """Refuse a ranker without attention over the frame before anything is computed.

    Raises
    ------
    InputError
        It has none.
    """
    import torch

    from pipeline.explain.look import no_attention

    maps = torch.zeros(1, member.run.ranker.segments, *member.run.shape)
    with torch.inference_mode():
        out = member.run.model(maps, torch.Generator().manual_seed(0))
    if out.attention is None:
        raise InputError(no_attention(member))


def _draw(
    member: Member,
    scored: Scored,
    output: Path,
    options: ExplainOptions,
    overlay: OverlayOptions,
) -> Explained:
    from pipeline.explain.look import look_at
    from pipeline.pictures.film import write_overlay
    from pipeline.pictures.sheet import draw_sheet, write_png

    look = look_at(member, scored)
    sheet = output / f"{look.video}{ATTENTION}.png"
    write_png(draw_sheet(look, options, overlay), sheet)
    if options.format == "none":
        return Explained(sheet, None, look)
    moving = output / f"{look.video}{ATTENTION}.{options.format}"
    write_overlay(look, moving, options, overlay)
    return Explained(sheet, moving, look)


def explain_cached(
    run: str | Path,
    key: str,
    video: str | Path,
    features: str | Path,
    flow: str | Path | None = None,
) -> Look:
    """Return what there is to show of one video whose features are there.

    Parameters
    ----------
    run, features, flow : path
        Outputs of train-ranker, extract-features and, where there, extract-flow.
    key : str
        Of the video in these.
    video : path
        The video itself, for its pictures.

    Raises
    ------
    InputError
        There is no such cache, or the ranker has no attention over the frame.
    """
    from data.cache.folder import cache_path, content_digest, read_header
    from data.sources import Source
    from pipeline.explain.look import look_at
    from pipeline.score.run import Member
    from pipeline.score.search import Made

    member = Member.load(Path(run))
    path = cache_path(features, key)
    fields = cache_path(flow, key) if flow is not None else None
    made = Made(
        Source(Path(video), key),
        Path(features),
        key,
        fields if fields is not None and fields.is_file() else None,
        read_header(path),
        content_digest(path),
    )
    return look_at(member, member.score([made], "cpu")[0])


EPILOG = """\b
Examples:
  pipeline explain run/ new.mp4 -o explained/
  pipeline explain run/ videos/ --features features/ --flow flow/ -o explained/
  pipeline explain run/ new.mp4 -o explained/ --format gif --scale fixed

\b
What was computed is kept (in the output's cache/, or --cache) and not computed again.
"""


@click.command("explain", epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
@dataclass_options(ExplainOptions)
@dataclass_options(OverlayOptions)
@making_options
@dataclass_options(JobOptions)
@common_options("output", "device", "strict")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Show where in the frame a trained RUN looked at VIDEOS, and what it made of it.

    Writes for each video a contact sheet (PNG: each segment with attention, frame and flow,
    attention entropy, running score) and a moving overlay at the video's own speed, in place of
    earlier ones. Attention is drawn where the trunks' receptive fields lie, against an even
    spread: what gets no more than its share stays clear.
    """
    outcome = carry_out(params)
    for source, drawn in outcome.results:
        files = [path.name for path in (drawn.sheet, drawn.overlay) if path is not None]
        spread = 100 * drawn.look.entropy.mean()
        emit(
            f"{source.key}: score {drawn.look.score:+.3f}, attention entropy {spread:.0f} %: "
            f"{' and '.join(files)} in {drawn.sheet.parent}"
        )
    ctx.exit(finish(outcome, lambda source: source.key))


def carry_out(params: dict[str, Any]) -> Outcome[Source, Explained]:
    """Do what the command's parameters say; the function for notebooks does the same.

    Raises
    ------
    InputError
        As `explain`; or videos or options that cannot be used.
    """
    from data.sources import find_sources

    check_run(params["run"], "explain")
    if params["shard"]:
        raise InputError("explain runs in one piece: --shard is for extract-flow and the like")
    return explain(
        params["run"],
        without_overlays(find_sources(params["videos"])),
        params["output"],
        Making.of(params),
        build(ExplainOptions, params),
        build(OverlayOptions, params),
    )

"""Stage 4, `pipeline explain`: where in the frame a run looked, as contact sheets and films.

Read downwards: the function that draws, the flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from pipeline.pictures.options import FilmOptions, OverlayOptions, SheetOptions
from pipeline.runner.files import check_is_folder, check_writable
from pipeline.runner.jobs import Outcome, finish
from pipeline.score.command import ATTENTION, check_run, without_films
from pipeline.score.settings import CACHE, NewVideoOptions
from pipeline.shell.common import common_options
from pipeline.shell.console import emit, log, progress
from pipeline.shell.flags import build, dataclass_options

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.score.members import Member, Scored


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """What is drawn of a video, and how."""

    sheet: SheetOptions = field(default_factory=SheetOptions)
    film: FilmOptions = field(default_factory=FilmOptions)
    overlay: OverlayOptions = field(default_factory=OverlayOptions)


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What was drawn of one video.

    Attributes
    ----------
    sheet : Path
        The contact sheet.
    film : Path or None
        The film; None where none was asked for.
    score : float
    entropy : float
        Mean entropy of attention, as a share of the greatest possible.
    """

    sheet: Path
    film: Path | None
    score: float
    entropy: float


def explain(
    run: str | Path,
    sources: Sequence[Source],
    output: str | Path,
    features: NewVideoOptions | None = None,
    options: ExplainOptions | None = None,
) -> Outcome[Source, Explained]:
    """Draw where a run looked at some videos.

    Parameters
    ----------
    run : path
        Output of train-ranker.
    sources : sequence of Source
        As `data.sources.find_sources` gives them.
    output : path
        Gets ``<key>.attention.png`` and ``<key>.attention.mp4``, which replace earlier ones.
    features : NewVideoOptions, optional
        Where features are found, and how missing ones are computed; these are kept in
        ``<output>/cache`` if no other folder is named.
    options : ExplainOptions, optional

    Returns
    -------
    Outcome
        One `Explained` a video, in the order of the sources, and the failures.

    Raises
    ------
    InputError
        The run cannot be used, or its ranker has no attention over the frame.
    """
    from pipeline.explain.look import check_attention
    from pipeline.pictures.attention import colour_table
    from pipeline.score.given import features_for
    from pipeline.score.members import Member

    output, options = Path(output), options or ExplainOptions()
    features = features or NewVideoOptions()
    features = replace(features, cache=features.cache or output / CACHE)
    check_is_folder(output)
    colour_table(options.overlay.colours)
    member = Member.load(Path(run))
    check_attention(member)
    if note := member.run.cue_note():
        log.info("%s; the pictures show the attention networks", note)
    check_writable(output)
    with features_for(sources, member, features) as videos:  # Kept: a folder is named.
        scores = member.score([each for _, each in videos.results], features.device)
    outcome: Outcome[Source, Explained] = Outcome(failures=list(videos.failures))
    with progress(total=len(scores), desc="draw", unit="video") as bar:
        for scored in scores:
            source = scored.features.source
            try:
                outcome.results.append((source, _draw(member, scored, output, options)))
            except InputError as error:
                log.warning("%s: %s", source.key, error)
                outcome.failures.append((source, str(error)))
            bar.update()
    return outcome


def _draw(member: Member, scored: Scored, output: Path, options: ExplainOptions) -> Explained:
    """Write the sheet and the film of one video."""
    from data.video.reading import read_frames
    from pipeline.explain.look import frame_times, look_at
    from pipeline.pictures.film import plan_timeline, write_film
    from pipeline.pictures.flow import png
    from pipeline.pictures.sheet import draw_sheet
    from pipeline.runner.files import write_bytes

    look = look_at(member, scored)
    sheet = output / f"{look.video}{ATTENTION}.png"
    write_bytes(sheet, png(draw_sheet(look, options.sheet, options.overlay)))
    film = output / f"{look.video}{ATTENTION}.mp4" if options.film.film else None
    if film is not None:
        timeline = plan_timeline(frame_times(scored))
        read = read_frames(scored.features.source.path, timeline.frames, timeline.seconds)
        frames = (frame for _, frame in read)
        write_film(film, look, timeline, frames, options=options.film, overlay=options.overlay)
    entropy = float(look.entropy.mean())
    return Explained(sheet=sheet, film=film, score=look.score, entropy=entropy)


EPILOG = """\b
Examples:
  pipeline explain run/ new.mp4 -o explained/
  pipeline explain run/ videos/ --features features/ --flow flow/ -o explained/
  pipeline explain run/ new.mp4 -o explained/ --no-film --scale fixed

\b
Computed flow and features are kept in the output's cache/, or in --cache, for the next run.
"""


@click.command("explain", epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
@dataclass_options(ExplainOptions)
@dataclass_options(NewVideoOptions, without=("shard",))
@common_options("output")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Show where in the frame a trained RUN looked at VIDEOS, and how it scored them.

    Writes a contact sheet (PNG: each segment with attention, frame and flow, attention entropy,
    running score) and a film (mp4) at the video's own speed for each video. Earlier sheets and
    films are replaced. Attention is drawn where the trunks' receptive fields lie, relative to an
    even spread: places with no more than an even share stay clear.
    """
    from data.sources import find_sources

    check_run(params["run"], "explain")
    options = NewVideoOptions.of(params)
    outcome = explain(
        params["run"],
        without_films(find_sources(params["videos"], options.exclude)),
        params["output"],
        options,
        build(ExplainOptions, params),
    )
    for source, drawn in outcome.results:
        files = [path.name for path in (drawn.sheet, drawn.film) if path is not None]
        emit(
            f"{source.key}: score {drawn.score:+.3f}, attention entropy {100 * drawn.entropy:.0f} "
            f"%: {' and '.join(files)} in {drawn.sheet.parent}"
        )
    ctx.exit(finish(outcome, lambda source: source.key))

"""`pipeline judge`: a page on which an expert compares videos side by side.

Read downwards: the function that writes the page, the flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.judge.settings import JudgeSettings, Length
from pipeline.score.command import check_run, without_films
from pipeline.score.settings import CACHE, NewVideoOptions
from pipeline.shell.common import common_options
from pipeline.shell.console import emit, log
from pipeline.shell.flags import build, dataclass_options
from pipeline.shell.words import counted, format_duration

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.judge.build import JudgePage


def judge(
    sources: Sequence[Source],
    output: str | Path,
    settings: JudgeSettings | None = None,
    new: NewVideoOptions | None = None,
) -> JudgePage:
    """Write a folder with a page on which videos are compared, and copies of the videos.

    Parameters
    ----------
    sources : sequence of Source
        As `data.sources.find_sources` gives them.
    output : path
        Gets ``index.html`` and ``videos/``; copies that exist are kept.
    settings : JudgeSettings, optional
    new : NewVideoOptions, optional
        Workers; with a run, where features are found and how missing ones are computed. These are
        kept in ``<output>/cache`` if no other folder is named.

    Raises
    ------
    InputError
        Fewer than two videos can be shown, the run cannot be used, or another file is in the way.
    """
    from pipeline.judge.build import build_page

    output, settings, new = Path(output), settings or JudgeSettings(), new or NewVideoOptions()
    if settings.run is not None:
        check_run(settings.run, "judge --run")
        new = replace(new, cache=new.cache or output / CACHE)
    return build_page(sources, output, settings, new)


def describe(videos: int, length: Length) -> str:
    """Return in words how many comparisons a judge makes."""
    return (
        f"{counted(videos, 'video')}: about {counted(length.comparisons, 'comparison')} a judge, "
        f"{counted(length.pairs, 'pair')} and {counted(length.repeats, 'repeat')}"
    )


EPILOG = """\b
Examples:
  pipeline judge videos/ -o judge/
  pipeline judge videos/ -o judge/ --pairs 60 --show-names
  pipeline judge new/ -o judge/ --run run/

\b
Open judge/index.html in a browser. Several judges use the same folder, or a copy of it. Put the
pairs_*.csv that they export into a folder; inspect says how well they agree, and train-ranker
takes the folder as --pairs.
"""


@click.command("judge", epilog=EPILOG)
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
@dataclass_options(JudgeSettings)
@dataclass_options(NewVideoOptions, without=("shard",))
@common_options("output", "dry_run")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Write a page on which an expert compares VIDEOS side by side, and that exports pairs.csv.

    OUTPUT gets index.html, which opens from disk without a network or a server, and small copies
    of the videos. Each comparison is the one that tells most after the answers so far, so that n
    videos need about n log2 n of them. Every answer is kept in the browser at once. With --run the
    page asks for pairs that the run scores alike; the flags of features, flow and devices are for
    these scores.
    """
    from data.sources import find_sources
    from pipeline.judge.build import planned_pairs
    from pipeline.runner.jobs import finish

    settings, new = build(JudgeSettings, params), build(NewVideoOptions, params)
    sources = without_films(find_sources(params["videos"], new.exclude))
    length = Length.of(len(sources), settings, planned_pairs(len(sources), settings))
    if params["dry_run"]:
        emit(describe(len(sources), length))
        return
    log.info("%s", describe(len(sources), length))
    made = judge(sources, params["output"], settings, new)
    emit(f"{describe(len(made.videos), made.length)}; some {format_duration(made.seconds)}")
    emit(f"open {made.page} in a browser")
    ctx.exit(finish(made.outcome, lambda source: source.key))

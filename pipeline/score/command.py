"""Stage 3, `pipeline score`: new videos to scores, both earlier stages included.

Read downwards: the function that does it, what it refuses, the flags. Features come from
`features.py`, the runs from `members.py`, the printed and written tables from `output.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from pipeline.runner.jobs import Outcome, finish
from pipeline.runs.folder import CHECKPOINT
from pipeline.score.settings import NewVideoOptions
from pipeline.shell.common import common_options
from pipeline.shell.console import emit, log
from pipeline.shell.flags import dataclass_options

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.score.scores import ScoreResult

#: Stands between a video's name and the ending of the pictures that `explain` writes.
ATTENTION = ".attention"
# Version 0.1 also wrote webm and gif.
_FILM = re.compile(re.escape(ATTENTION) + r"\.(mp4|webm|gif)$")


def score_videos(
    run: str | Path,
    sources: Sequence[Source],
    options: NewVideoOptions | None = None,
    *,
    also: Sequence[str | Path] = (),
    ensemble: bool = False,
    variant: str | None = None,
) -> ScoreResult:
    """Score videos with the ranker of a run, as at the end of its training.

    Parameters
    ----------
    run : path
        Output of train-ranker; with `ensemble`, a folder of such, for instance an evaluation.
    sources : sequence of Source
        As `data.sources.find_sources` gives them; none scores every cache in `options.features`.
    options : NewVideoOptions, optional
        Where features are found, and how missing ones are computed. Computed features are not
        kept if no cache folder is named.
    also : sequence of path
        More runs to average with.
    ensemble : bool
        Average all runs found in `run`.
    variant : str, optional
        Take only runs of this variant.

    Raises
    ------
    InputError
        The run cannot be used, or does not say how its features were made.
    """
    from pipeline.score.given import features_for
    from pipeline.score.members import Member, load_members
    from pipeline.score.scores import ScoreResult, combine

    several = ensemble or bool(also)
    members = (
        load_members([Path(run), *map(Path, also)], variant)
        if several
        else [Member.load(Path(run))]
    )
    options = options or NewVideoOptions()
    with features_for(sources, members[0], options) as features:
        videos = [each for _, each in features.results]
        scored = [member.score(videos, options.device) for member in members]
    reference, rows = combine(members, scored)
    outcome = Outcome(
        [(source, row) for (source, _), row in zip(features.results, rows, strict=True)],
        features.failures,
    )
    return ScoreResult(outcome=outcome, reference=reference, members=members)


def without_films(sources: Sequence[Source]) -> list[Source]:
    """Return the videos without the films that `explain` wrote.

    Raises
    ------
    InputError
        There are only films.
    """
    videos = [source for source in sources if not _FILM.search(source.key)]
    if not videos:
        raise InputError(f"{sources[0].path}: a film that explain wrote; name the videos")
    if films := len(sources) - len(videos):
        log.warning("%d films that explain wrote are not taken for videos", films)
    return videos


def check_run(run: Path, command: str) -> None:
    """Refuse a path that cannot be a run, before any video is read.

    Raises
    ------
    InputError
        The path does not exist, is a video, or holds no trained ranker.
    """
    if not run.exists():
        raise InputError(f"{run}: no such run; expected the output folder of train-ranker")
    order = f"the run comes first: pipeline {command} RUN VIDEOS..."
    if run.is_file():
        if run.suffix != ".safetensors":
            raise InputError(f"{run}: not a run; {order}")
    elif next(run.rglob(CHECKPOINT), None) is None:
        hint = "evaluate keeps rankers with --keep-rankers" if (run / "runs").is_dir() else order
        raise InputError(f"{run}: no trained ranker ({CHECKPOINT}) in it or below it; {hint}")


EPILOG = """\b
Examples:
  pipeline score run/ new.mp4
  pipeline score run/ new_videos/ -o scores/
  pipeline score run/ new.mp4 --csv scores.csv --features features/ --flow flow/
  pipeline score run/ --features new_features/
  pipeline score run1/ new.mp4 --also run2/ --also run3/
  pipeline score evaluation/ new.mp4 --ensemble

\b
Without VIDEOS, all feature caches in --features are scored, and no video is read: so are those of
import-features. Computed flow and features are kept in the output's cache/, or in --cache, for the
next run. With neither, only the scores are kept.
"""


@click.command("score", epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("videos", nargs=-1, metavar="[VIDEOS]...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for scores.csv and scores.json."
)
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write a table here.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write all as JSON here."
)
@click.option("--ensemble", is_flag=True, help="RUN is a folder of runs: average them.")
@click.option(
    "--also",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="RUN",
    help="Average with this run too (repeatable).",
)
@click.option("--variant", help="Average the runs of this variant only.")
@dataclass_options(NewVideoOptions, without=("shard",))
@common_options()
@click.pass_context
def command(ctx: click.Context, /, run: Path, videos: tuple[str, ...], **params: Any) -> None:
    """Score VIDEOS with a trained RUN: flow, features and score as in its training.

    Prints and writes each video's score, its rank and percentile among the training videos, and
    the training videos next to it. Scores have no unit: compare them with those of the training
    videos. A training video is compared with the other ones. The scales of runs differ, so each
    run is standardised on its own training videos before several are averaged; the spread is the
    standard deviation over the runs. Earlier scores in the same files are replaced.
    """
    from data.sources import find_sources
    from pipeline.score.output import claim, lines, write_results

    check_run(run, "score")
    targets = claim(params["output"], params["csv_file"], params["json_file"])
    options = NewVideoOptions.of(params)
    if not videos and options.features is None:
        raise click.UsageError("name VIDEOS, or a folder of their features with --features")
    result = score_videos(
        run,
        without_films(find_sources(videos, options.exclude)) if videos else [],
        options,
        also=params["also"],
        ensemble=params["ensemble"] or params["variant"] is not None,
        variant=params["variant"],
    )
    write_results(result, run, *targets)  # First: a reader of the output may close it early.
    if result.outcome.results:
        for line in lines(result):
            emit(line)
    for path in targets:
        if path is not None:
            log.info("wrote %s", path)
    ctx.exit(finish(result.outcome, lambda source: source.key))

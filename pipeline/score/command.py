"""New videos to scores, in one command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from data.errors import InputError
from pipeline.runner.jobs import JobOptions, Outcome, finish
from pipeline.score.options import (
    Making,
    check_run,
    make_folder,
    making_options,
    with_cache,
    without_overlays,
)
from pipeline.shell.console import emit, log
from pipeline.shell.flags import common_options, dataclass_options

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.score.ranking import Place, Reference
    from pipeline.score.run import Member, Scored


@dataclass(frozen=True)
class VideoScore:
    """What one video came to.

    Attributes
    ----------
    video, path : str
        Its name and place.
    score : float
        The run's score; of several runs the mean of their standardised scores.
    standardised : float
        In standard deviations of the training videos' scores from their mean.
    place : Place
        Rank, percentile and neighbours among the training videos.
    note : str
        That this is one of the run's own videos, or empty.
    members : dict of str to float
        Each run's own score.
    spread : float or None
        Standard deviation of the runs' standardised scores; None for one run.
    ranks : tuple (best, worst), or None
        Of the runs' own ranks.
    warnings : tuple of str
        What was odd about the video.
    """

    video: str
    path: str
    score: float
    standardised: float
    place: Place
    note: str
    members: dict[str, float]
    spread: float | None = None
    ranks: tuple[int, int] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreResult:
    """Scores of new videos.

    Attributes
    ----------
    outcome : Outcome
        One `VideoScore` a video, in the order of the sources, and the failures.
    reference : Reference
        Training videos and their scores.
    members : list of Member
        The runs.
    """

    outcome: Outcome[Source, VideoScore]
    reference: Reference
    members: list[Member] = field(default_factory=list)


def score_videos(
    run: str | Path,
    sources: Sequence[Source],
    making: Making | None = None,
    *,
    also: Sequence[str | Path] = (),
    ensemble: bool = False,
    variant: str | None = None,
) -> ScoreResult:
    """Score videos as the ranker of a run would have at the end of its training.

    Parameters
    ----------
    run : path
        Output of train-ranker; with `ensemble`, a folder of such, for instance an evaluation.
    sources : sequence of Source
        As `data.sources.find_sources` gives them.
    making : Making, optional
        How features are made, and where they may be there already; without a cache folder, those
        made are not kept.
    also : sequence of path
        More runs to average with.
    ensemble : bool
        Average all runs found in `run`.
    variant : str, optional
        Take only runs of this one.

    Raises
    ------
    InputError
        The run cannot be used, or does not say how its features were made.
    """
    from pipeline.score.features import make_features
    from pipeline.score.members import load_members, stage_one_of
    from pipeline.score.recipe import find_recipe
    from pipeline.score.run import Member

    making = making or Making()
    several = ensemble or bool(also)
    if several:
        members = load_members([Path(run), *map(Path, also)], variant)
    else:
        members = [Member.load(Path(run))]
    first = members[0]
    if several and len(members) == 1:
        log.warning("%s: the only run there; its own scores, without a spread", first.folder)
    recipe = find_recipe(first.run, first.folder, making, stage_one_of(first))
    with with_cache(making) as making:
        made = make_features(sources, recipe, making)
        features = [each for _, each in made.results]
        scored = [member.score(features, making.device) if features else [] for member in members]
    if len(members) > 1:
        reference, rows = _averaged(members, scored)
    else:
        reference, rows = first.reference, [_alone(first, each) for each in scored[0]]
    outcome: Outcome[Source, VideoScore] = Outcome(failures=made.failures)
    outcome.results = [(source, row) for (source, _), row in zip(made.results, rows, strict=True)]
    return ScoreResult(outcome, reference, members)


def _alone(member: Member, scored: Scored) -> VideoScore:
    from pipeline.score.members import short_names

    source, reference = scored.made.source, member.reference
    trained = scored.known_as in member.run.training_videos
    note = ""
    if scored.known_as is not None:
        kind = "a training video, ranked among the others" if trained else "scored in training"
        note = kind if scored.known_as == source.key else f"{kind} ({scored.known_as})"
    return VideoScore(
        source.key,
        str(source.path),
        scored.score,
        reference.standardised(scored.score),
        reference.place(scored.score, scored.known_as if trained else None),
        note,
        {short_names([member])[0]: scored.score},
        warnings=scored.made.header.warnings,
    )


def _averaged(
    members: Sequence[Member], scored: Sequence[Sequence[Scored]]
) -> tuple[Reference, list[VideoScore]]:
    import numpy as np

    from pipeline.score.members import common_reference, short_names
    from pipeline.score.ranking import Reference

    reference, table = common_reference(members)
    own = [Reference(reference.videos, row) for row in table]
    names = short_names(members)
    rows = []
    for seen in zip(*scored, strict=True):
        values = np.array(
            [m.reference.standardised(s.score) for m, s in zip(members, seen, strict=True)]
        )
        itself = next((s.known_as for s in seen if s.known_as in reference.videos), None)
        trained = sum(
            s.known_as in m.run.training_videos for m, s in zip(members, seen, strict=True)
        )
        ranks = [
            each.place(float(value), itself).rank for each, value in zip(own, values, strict=True)
        ]
        made = seen[0].made
        mean = float(values.mean())
        rows.append(
            VideoScore(
                made.source.key,
                str(made.source.path),
                mean,
                mean,
                reference.place(mean, itself),
                f"a training video of {trained} of {len(members)} runs" if trained else "",
                {name: s.score for name, s in zip(names, seen, strict=True)},
                float(values.std(ddof=1)),
                (min(ranks), max(ranks)),
                made.header.warnings,
            )
        )
    return reference, rows


EPILOG = """\b
Examples:
  pipeline score run/ new.mp4
  pipeline score run/ new_videos/ -o scores/
  pipeline score run/ new.mp4 --csv scores.csv --features features/ --flow flow/
  pipeline score run1/ new.mp4 --also run2/ --also run3/
  pipeline score evaluation/ new.mp4 --ensemble

\b
What was computed is kept (in the output's cache/, or --cache) and not computed again; with
neither, nothing but the scores is.
"""


@click.command("score", epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("videos", nargs=-1, required=True, metavar="VIDEOS...")
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
@making_options
@dataclass_options(JobOptions)
@common_options("device", "strict")
@click.pass_context
def command(ctx: click.Context, /, run: Path, videos: tuple[str, ...], **params: Any) -> None:
    """Score VIDEOS with a trained RUN: flow, features and score as in its training.

    Prints and writes each video's score, its rank and percentile among the training videos, and
    the training videos next to it. Scores have no unit: they mean something beside those of the
    training videos. A training video is compared with the others. Several runs are averaged after
    each has been standardised on its own training videos, since their scales differ; the spread is
    the standard deviation over the runs. Earlier scores in the same files are replaced.
    """
    from data.sources import find_sources
    from pipeline.score.output import claim, lines, write_results

    if params["shard"]:
        raise InputError("score runs in one piece: --shard is for extract-flow and the like")
    check_run(run, "score")
    targets = _targets(params)
    claim(*targets)
    found = score_videos(
        run,
        without_overlays(find_sources(videos)),
        Making.of(params),
        also=params["also"],
        ensemble=params["ensemble"] or params["variant"] is not None,
        variant=params["variant"],
    )
    write_results(found, run, *targets)  # First: whoever reads what is printed may stop early.
    if found.outcome.results:
        for line in lines(found):
            emit(line)
    for path in targets:
        if path is not None:
            log.info("wrote %s", path)
    ctx.exit(finish(found.outcome, lambda source: source.key))


def _targets(params: dict[str, Any]) -> tuple[Path | None, Path | None]:
    """Return where to write CSV and JSON."""
    folder: Path | None = params["output"]
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: a file; --output must be a folder (or use --csv and --json)")
    table, everything = params["csv_file"], params["json_file"]
    if folder is not None:
        table, everything = table or folder / "scores.csv", everything or folder / "scores.json"
    for path, flag in ((table, "--output or --csv"), (everything, "--output or --json")):
        if path is not None:
            make_folder(path.parent, flag)
    return table, everything

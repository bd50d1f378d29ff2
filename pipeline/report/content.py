"""What a page shows: its settings, and all its content, gathered before the page is written."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.shell.flags import option

if TYPE_CHECKING:
    from pipeline.runner.jobs import JobOptions


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What a page shows, where its files lie, and how many pictures it holds."""

    evaluation: Path | None = option(
        "Output of evaluate: cross-validated accuracy, baselines, folds.", default=None
    )
    videos: Path | None = option("The videos, if they are not where the caches say.", default=None)
    features: Path | None = option(
        "Feature caches, if they are not where the run says.", default=None
    )
    flow: Path | None = option(
        "Flow caches, if they are not next to the feature caches.", default=None
    )
    title: str | None = option("Heading of the page; by default the run's name.", default=None)
    thumbnails: int = option(
        "Most pictures in the ranking; in longer rankings the best and the worst videos get them. "
        "0 leaves them out.",
        default=200,
        source="ours: about 5 KB each, 1 MB in all",
        min=0,
    )
    wrong_pairs: int = option(
        "Number of most wrong pairs to show.", default=6, source="ours", min=0
    )
    sheets: int = option(
        "Attention sheets of this many of the best and as many of the worst videos.",
        default=1,
        source="ours",
        min=0,
    )


def gather(run: Path, settings: ReportSettings, jobs: JobOptions) -> dict[str, Any]:
    """Return the template's variables.

    Raises
    ------
    InputError
        The run or the evaluation cannot be read.
    """
    from pipeline.evaluate.published import SOURCE
    from pipeline.report import facts, images
    from pipeline.report.accuracy import run_accuracies
    from pipeline.report.evaluation import read_evaluation
    from pipeline.report.ranking import most_wrong, order_pairs, rank_videos, with_pictures
    from pipeline.report.sources import find
    from pipeline.report.summary import judges_agree, summarise

    sources = find(run, settings.features, settings.flow, settings.videos)
    own = run_accuracies(sources)
    evaluation = read_evaluation(settings.evaluation, sources) if settings.evaluation else None
    agreement = sources.record.agreement if sources.record else None
    agreement = agreement or (evaluation.agreement if evaluation else None)
    ordered = order_pairs(sources, evaluation)
    rows = rank_videos(sources, ordered)
    wrong = most_wrong(ordered, settings.wrong_pairs)
    pictured = with_pictures(rows, settings.thumbnails)
    large = {key for pair in wrong for key in (pair.better, pair.worse)}
    name = sources.folder.resolve().name
    return {
        "title": settings.title or f"Skill ranking: {name}",
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "run": sources.run,
        "notes": sources.notes,
        "summary": replace(
            summarise(sources, evaluation, own, facts.random_trunks(sources.folder)),
            judges=judges_agree(agreement),
        ),
        "own": own,
        "agreement": agreement,
        "evaluation": evaluation,
        "published_source": SOURCE,
        "rows": rows,
        "digits": 2 if max(abs(row.score) for row in rows) >= 1 else 3,
        "row_of": {row.key: row for row in rows},
        "ordered": ordered,
        "wrong": wrong,
        "pictured": frozenset(pictured),
        "pictures": images.thumbnails(sources, set(pictured), large, jobs),
        "changed": frozenset(sources.changed),
        "curves": images.learning_curves(sources.folder),
        "attention": images.attention_sheets(sources, rows, settings.sheets),
        "groups": facts.what_was_run(sources),
    }

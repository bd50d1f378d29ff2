"""Everything that a report shows, gathered from files before any of it is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.evaluate.published import SOURCE
from pipeline.report import facts
from pipeline.report.accuracy import find_pairs, run_accuracies
from pipeline.report.attention import attention_sheets
from pipeline.report.charts import learning_curves
from pipeline.report.evaluation import read_evaluation
from pipeline.report.images import thumbnails
from pipeline.report.ranking import most_wrong, order_pairs, rank_videos, with_pictures
from pipeline.report.sources import find
from pipeline.report.summary import summarise

if TYPE_CHECKING:
    from data.judgements.options import DatasetOptions
    from pipeline.report.options import ReportOptions
    from pipeline.runner.jobs import JobOptions


def gather(
    run: Path,
    *,
    evaluation: Path | None,
    pairs: Path | None,
    dataset: DatasetOptions | None,
    videos: Path | None,
    features: Path | None,
    flow: Path | None,
    title: str | None,
    options: ReportOptions,
    jobs: JobOptions,
    seconds: Mapping[str, float] | None,
    written: str,
) -> dict[str, Any]:
    """Return the template's variables; parameters as `write_report`.

    Raises
    ------
    InputError
        The run or the evaluation cannot be read.
    """
    sources = find(run, features, flow, videos)
    judged = find_pairs(sources, pairs, dataset)
    own = run_accuracies(sources, judged)
    crossed = read_evaluation(evaluation, sources, pairs, dataset) if evaluation else None
    ordered = order_pairs(sources.run, judged, crossed)
    rows = rank_videos(sources.run, judged, ordered)
    wrong = most_wrong(ordered, options.wrong_pairs)
    pictured = with_pictures(rows, options.thumbnails)
    pictures = thumbnails(
        sources.videos,
        {key: header.decoded_frames for key, header in sources.headers.items()},
        set(pictured),
        {key for pair in wrong for key in (pair.better, pair.worse)},
        jobs,
    )
    random = facts.random_trunks(sources.folder)
    name = sources.folder.resolve().name
    return {
        "title": title or f"Skill ranking: {name}",
        "name": name,
        "written": written,
        "run": sources.run,
        "notes": sources.notes,
        "summary": summarise(sources, crossed, own, random),
        "own": own,
        "evaluation": crossed,
        "published_source": SOURCE,
        "rows": rows,
        "digits": 2 if max(abs(row.score) for row in rows) >= 1 else 3,
        "row_of": {row.key: row for row in rows},
        "pairs_told_apart": bool(judged and not judged.exact),
        "ordered": ordered,
        "wrong": wrong,
        "pictured": frozenset(pictured),
        "pictures": pictures,
        "changed": frozenset(sources.changed),
        "charts": learning_curves(
            sources.metrics.get("history", []), sources.metrics.get("best_epoch", 0)
        ),
        "attention": attention_sheets(sources, rows, options.sheets),
        "groups": facts.what_was_run(sources, judged),
        "costs": facts.costs(sources, crossed, seconds),
        "timed_by_caller": bool(seconds),
    }

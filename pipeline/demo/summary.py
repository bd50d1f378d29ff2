"""What the demonstration prints: results with their limits, times, and places."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.evaluate.margins import MEMORY
from pipeline.shell.words import format_duration, table_text

if TYPE_CHECKING:
    from pipeline.demo.options import DemoOptions, DemoResult
    from pipeline.evaluate.tables import Table

# A result closer to chance than this many standard errors is reported as no clear evidence.
_CLEAR = 2.0


def summarise(result: DemoResult, options: DemoOptions) -> list[str]:
    """Return results, times and places, for one screen."""
    lines = []
    if result.table is not None:
        lines += [*result.table.as_text().split("\n"), ""]
        lines += _limits(result.table, options)
    seconds = {**result.seconds, "in all": sum(result.seconds.values())}
    times = [(name, format_duration(value)) for name, value in seconds.items()]
    lines += [*table_text(times).split("\n"), ""]
    places = (
        ("synthetic/videos", "the videos; next to them their pairs, skills and tool boxes"),
        ("evaluation/table.txt", "this table; also .csv, .md and .tex, and results.json"),
        ("run/scores.csv", "ranking by one ranker; next to it its learning_curves.png"),
        ("explained", "where it looked in the best and the worst video that it was not trained on"),
        ("report.html", "all of this as one page; open it in a browser"),
    )
    return lines + [
        f"{result.folder / name}: {what}"
        for name, what in places
        if (result.folder / name).exists()
    ]


def _limits(table: Table, options: DemoOptions) -> list[str]:
    """Return what the numbers show, and what they do not."""
    row = next(row for row in table.rows if row.method == "full")
    memory = next(row for row in table.rows if row.method == f"{MEMORY} (baseline)")
    mean, error = row.both_unseen.mean, row.both_unseen.error
    clear = math.isfinite(error) and mean - 0.5 > _CLEAR * error
    lines = [
        f"Pairs of two unseen videos: {100 * mean:.1f} \u00b1 {100 * error:.1f} %; chance is 50 %"
        + ("." if clear else f", less than {_CLEAR:g} standard errors away: no clear evidence."),
        "In pairs with one unseen video, knowing the place of the other one is enough for "
        f"{100 * memory.one_unseen.mean:.1f} %.",
    ]
    if options.weights == "random":
        lines.append(
            "The trunks are random: this shows that the stages work together, not how well the "
            "method judges."
        )
    return [*lines, ""]


def show_plan(output: Path, options: DemoOptions) -> list[str]:
    """Return what would be computed; nothing is written."""
    import numpy as np

    from data.sampling import plan_snippets
    from data.synthetic.plan import plan_set

    planned = plan_set(options.videos, options.seed, options.synthetic(), options.effects())
    rate = options.synthetic().frame_rate
    plans = [plan_snippets(np.arange(v.frames) / rate, options.plan()) for v in planned]
    gap = options.synthetic().skill_gap
    pairs = sum(a.skill - b.skill >= gap for a in planned for b in planned)
    runs = options.folds * options.trainings + 1
    side, bound = options.flow_side, options.picture_size
    return [
        f"videos    {len(planned)} of {options.picture_size}x{options.picture_size} px, "
        f"{sum(video.frames for video in planned):,} frames, into {output / 'synthetic'}",
        f"flow      {sum(len(plan.pairs) for plan in plans):,} fields of "
        f"{min(side, bound)}x{min(side, bound)} px",
        f"features  {sum(len(plan.frame) for plan in plans):,} snippets through two ResNet101s "
        f"({options.weights} weights, {options.input_size} px)",
        f"rankers   {runs} trainings of {options.epochs} epochs, {pairs} pairs in all",
        "nothing was written",
    ]

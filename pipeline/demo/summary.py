"""What the demonstration prints: results with their limits, times, and places."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.shell.words import format_duration, table_text

if TYPE_CHECKING:
    from data.judgements.splits import Split
    from pipeline.demo.command import DemoResult
    from pipeline.demo.options import DemoOptions
    from pipeline.evaluate.tables import Table

# Below so many standard errors above chance a result is called what it is: no evidence.
_CLEAR = 2.0


def summarise(found: DemoResult, options: DemoOptions, seed: int) -> list[str]:
    """Say in a screenful what came out, what it took, and where things are."""
    lines = []
    if found.table is not None:
        made = found.folder / "synthetic"
        lines += [*found.table.as_text().split("\n"), ""]
        lines += _reading(found.table, made, options, seed)
    seconds = {**found.seconds, "in all": sum(found.seconds.values())}
    times = [(name, format_duration(value)) for name, value in seconds.items()]
    lines += [*table_text(times).split("\n"), ""]
    named = (
        ("synthetic/videos", "the videos; their pairs, skills and tool boxes beside them"),
        ("evaluation/table.txt", "this table; also .csv, .md and .tex, and results.json"),
        ("run/scores.csv", "ranking by one ranker; its learning_curves.png beside it"),
        ("attention.png", "where it looked in videos that it was not trained on"),
        ("report.html", "all of this as one page; open it in a browser"),
    )
    return lines + [
        f"{found.folder / name}: {what}" for name, what in named if (found.folder / name).exists()
    ]


def _reading(table: Table, made: Path, options: DemoOptions, seed: int) -> list[str]:
    """Say how far the numbers go."""
    from data.judgements.pairs import read_pairs
    from data.judgements.splits import k_fold_by_video

    row = next(row for row in table.rows if row.method == "full")
    mean, error = row.both_unseen.mean, row.both_unseen.error
    clear = math.isfinite(error) and mean - 0.5 > _CLEAR * error
    splits = k_fold_by_video(read_pairs(made / "pairs.csv"), options.folds, seed)
    memory = sum(from_memory(split, read_skills(made)) for split in splits) / len(splits)
    lines = [
        f"Pairs of two unseen videos: {100 * mean:.1f} \u00b1 {100 * error:.1f} %; chance is 50 %"
        + ("." if clear else f", less than {_CLEAR:g} standard errors away: no clear evidence."),
        "In pairs with one unseen video, knowing the place of the other one is enough for "
        f"{100 * memory:.1f} %.",
    ]
    if options.weights == "random":
        lines.append(
            "The trunks are random: this shows that the stages work together, not how well the "
            "method judges."
        )
    return [*lines, ""]


def from_memory(split: Split, skill: Mapping[str, float]) -> float:
    """Accuracy on pairs with one unseen video of a judge who only remembers the training videos.

    Unseen videos get the middle skill, so nothing of them is used.

    Parameters
    ----------
    split : Split
        Its pairs of two unseen videos are left out.
    skill : mapping of str to float
        True skills, of which those of training videos are used.

    Returns
    -------
    float
        Share of right pairs in [0, 1]; NaN without such pairs.
    """
    out = split.held_out
    known = {name: value for name, value in skill.items() if name not in out}
    middle = sum(known.values()) / len(known)
    right = [
        known.get(pair.better, middle) > known.get(pair.worse, middle)
        for pair, unseen in zip(split.test, split.unseen(), strict=True)
        if unseen == 1
    ]
    return sum(right) / len(right) if right else math.nan


def read_skills(made: Path) -> dict[str, float]:
    """Read the true skills of a synthetic set."""
    with open(made / "skill.csv", newline="", encoding="utf-8") as file:
        return {row["video"]: float(row["skill"]) for row in csv.DictReader(file)}


def show_plan(output: Path, options: DemoOptions, seed: int) -> list[str]:
    """Say what would be computed; nothing is written."""
    import numpy as np

    from data.sampling import plan_snippets
    from data.synthetic.writer import plan_set

    planned = plan_set(options.videos, seed, options.synthetic())
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

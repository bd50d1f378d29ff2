"""The files of a finished cross-validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluate import results as report
from pipeline.evaluate.baselines import baseline_scores
from pipeline.evaluate.plan import Evaluation
from pipeline.evaluate.published import notes
from pipeline.evaluate.runs import read_result
from pipeline.evaluate.table import Table, TableRow
from pipeline.runner.files import write_csv, write_json, write_text
from pipeline.runner.jobs import JobOptions
from pipeline.shell.words import counted, finite
from pipeline.train_ranker.plan import PROTOCOLS

Results = Mapping[str, Sequence[Mapping[str, Any]]]


def tabulate(found: Evaluation, jobs: JobOptions, flow: Path | None, videos: Path | None) -> Table:
    """Turn finished runs into tables, and write them."""
    plan = found.plan
    results = {
        variant: [read_result(plan, run) for run in found.runs if run.variant == variant]
        for variant in found.options.variants
    }
    measured, left_out = baseline_scores(
        plan.features,
        plan.keys,
        flow=flow,
        videos=videos,
        spans=plan.spans,
        jobs=dataclasses.replace(jobs, shard=None),
    )
    scored = {
        variant: _folded([run["scores"] for run in runs], found.options.seeds)
        for variant, runs in results.items()
    }
    rows = _variant_rows(found, scored)
    for name, values in measured.items():
        if len(set(values.values())) > 1:
            rows.append(report.baseline_row(name, values, plan.splits, found.scores))
        else:
            left_out.append(f"baseline '{name}' left out: it is the same for all videos")
    rows += report.fixed_rows(plan.splits)
    fitted = report.training_lines(plan.splits, scored) if len(scored) > 1 else []
    table = Table(
        _title(found),
        found.options.variants[0],
        tuple(rows),
        tuple(_notes(found, results)),
        (*fitted, *left_out, *report.attention_lines(report.attention_rows(results))),
        PROTOCOLS[plan.train.protocol],
    )
    _write(table, found, results, measured)
    return table


def _clusters(found: Evaluation) -> Mapping[str, str] | None:
    """Return the group of each video where folds keep groups together: these are drawn then."""
    return found.plan.groups if found.dataset.folds_keep_groups else None


def _variant_rows(found: Evaluation, scored: Mapping[str, report.Scored]) -> list[TableRow]:
    """Return a row for each variant; all but the first are compared with the first."""
    splits, draws = found.plan.splits, found.options.draws
    reference = found.options.variants[0]
    rows = []
    for variant, ours in scored.items():
        change = None
        if variant != reference:
            change = report.compare(splits, ours, scored[reference], _clusters(found), draws)
        rows.append(
            report.variant_row(variant, splits, ours, found.scores, found.dataset.known, change)
        )
    return rows


def _notes(found: Evaluation, results: Results) -> list[str]:
    """Return what must be said below the table."""
    plan, options = found.plan, found.options
    said = [
        f"protocol: {PROTOCOLS[plan.train.protocol]}",
        "±: standard error over fold means"
        if len(plan.splits) > 1
        else "±: standard error over seeds (one fold)",
        "a baseline's direction is chosen on each fold's training pairs",
    ]
    if len(options.variants) > 1:
        said.append(
            f"[95 %]: bootstrap over {'groups of videos' if _clusters(found) else 'videos'} and "
            f"seeds, {options.draws} draws, folds and trained models as they are"
        )
    if found.skipped:
        said.append(found.skipped)
    said += notes(found.dataset.known)
    wanted = plan.train.protocol
    if fallen := [run for runs in results.values() for run in runs if run["protocol"] != wanted]:
        said.append(f"{len(fallen)} runs took the last epoch: too few pairs to hold videos out")
    return said


def _folded(scores: list[Mapping[str, float]], seeds: int) -> list[list[Mapping[str, float]]]:
    return [scores[i : i + seeds] for i in range(0, len(scores), seeds)]


def _title(found: Evaluation) -> str:
    tested = sum(len(split.test) for split in found.plan.splits)
    return (
        f"{found.dataset.name}: {len(found.plan.keys)} videos, {tested} tests of pairs, "
        f"{counted(len(found.plan.splits), 'fold')} ({found.dataset.folds_source}), "
        f"{counted(found.options.seeds, 'seed')}"
    )


def _write(
    table: Table,
    found: Evaluation,
    results: Results,
    measured: Mapping[str, Mapping[str, float]],
) -> None:
    output, attention = found.plan.output, report.attention_rows(results)
    files = {
        "table.txt": table.as_text(),
        "table.md": table.as_markdown(),
        "table.tex": table.as_latex(),
        "table.csv": table.as_csv(),
    }
    label = {"protocol": table.protocol}
    for name, text in files.items():
        write_text(output / name, text.rstrip("\n") + "\n")
    write_json(
        output / "results.json",
        {
            **table.as_json(),
            "protocol": table.protocol,
            "attention": finite(attention),
            "runs": [
                {k: v for k, v in run.items() if k != "settings"}
                for runs in results.values()
                for run in runs
            ],
        },
    )
    if attention:
        write_csv(output / "attention.csv", [row | label for row in attention])
    write_csv(
        output / "baselines.csv",
        [
            {"video": key} | {name: values[key] for name, values in measured.items()}
            for key in found.plan.keys
        ],
    )

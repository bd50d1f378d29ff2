"""The files of a finished cross-validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import evaluation_report as report
from pipeline.baselines import baseline_scores
from pipeline.evaluation_plan import Evaluation
from pipeline.evaluation_runs import read_result
from pipeline.evaluation_table import Table
from pipeline.jobs import JobOptions
from pipeline.published import notes
from pipeline.run_folder import csv_bytes, json_bytes, write_file

_PROTOCOLS = {
    "validation": "epoch chosen on a validation share of the training videos",
    "last": "last epoch",
    "authors": "AUTHORS' PROTOCOL: epoch chosen on the test pairs, so these accuracies flatter",
}


def tabulate(found: Evaluation, jobs: JobOptions, flow: Path | None, videos: Path | None) -> Table:
    """Turn finished runs into tables, and write them."""
    plan, options = found.plan, found.options
    results = {
        variant: [read_result(plan, run) for run in found.runs if run.variant == variant]
        for variant in options.variants
    }
    scored = {
        variant: _folded([run["scores"] for run in runs], options.seeds)
        for variant, runs in results.items()
    }
    reference = options.variants[0]
    clusters = plan.groups if found.dataset.folds_keep_groups else None
    rows = []
    for variant in options.variants:
        change = None
        if variant != reference:
            change = report.compare(
                plan.splits, scored[variant], scored[reference], clusters, options.draws
            )
        rows.append(
            report.variant_row(
                variant, plan.splits, scored[variant], found.scores, found.dataset.known, change
            )
        )
    measured, left_out = baseline_scores(
        plan.features,
        plan.keys,
        flow=flow,
        videos=videos,
        jobs=dataclasses.replace(jobs, shard=None),
    )
    for name, values in measured.items():
        if len(set(values.values())) > 1:
            rows.append(report.baseline_row(name, values, plan.splits, found.scores))
        else:
            left_out.append(f"baseline '{name}' left out: it is the same for all videos")
    rows += report.fixed_rows([pair for split in plan.splits for pair in split.test])
    said = [
        f"protocol: {_PROTOCOLS[plan.train.protocol]}",
        "±: standard error over fold means"
        if len(plan.splits) > 1
        else "±: standard error over seeds (one fold)",
        "a baseline's direction is chosen on each fold's training pairs",
        *(
            [
                f"[95 %]: bootstrap over {'groups of videos' if clusters else 'videos'} and seeds, "
                f"{options.draws} draws, folds and trained models as they are"
            ]
            if len(options.variants) > 1
            else []
        ),
        *([found.skipped] if found.skipped else []),
        *notes(found.dataset.known),
    ]
    wanted = plan.train.protocol
    if fallen := [run for runs in results.values() for run in runs if run["protocol"] != wanted]:
        said.append(f"{len(fallen)} runs took the last epoch: too few pairs to hold videos out")
    details = [*left_out, *report.attention_lines(results)]
    table = Table(_title(found), reference, tuple(rows), tuple(said), tuple(details))
    _write(table, found, results, measured)
    return table


def _folded(scores: list[dict[str, float]], seeds: int) -> list[list[dict[str, float]]]:
    return [scores[i : i + seeds] for i in range(0, len(scores), seeds)]


def _title(found: Evaluation) -> str:
    tested = sum(len(split.test) for split in found.plan.splits)
    return (
        f"{found.dataset.name}: {len(found.plan.keys)} videos, {tested} tests of pairs, "
        f"{len(found.plan.splits)} folds ({found.dataset.folds_source}), "
        f"{found.options.seeds} seeds"
    )


def _write(
    table: Table,
    found: Evaluation,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    measured: Mapping[str, Mapping[str, float]],
) -> None:
    output = found.plan.output
    files = {
        "table.txt": table.as_text(),
        "table.md": table.as_markdown(),
        "table.tex": table.as_latex(),
        "table.csv": table.as_csv(),
    }
    for name, text in files.items():
        write_file(output / name, (text.rstrip("\n") + "\n").encode())
    write_file(
        output / "results.json",
        json_bytes(
            {
                **table.as_json(),
                "protocol": _PROTOCOLS[found.plan.train.protocol],
                "runs": [
                    {k: v for k, v in run.items() if k != "settings"}
                    for runs in results.values()
                    for run in runs
                ],
            }
        ),
    )
    write_file(
        output / "baselines.csv",
        csv_bytes(
            [
                {"video": key} | {name: values[key] for name, values in measured.items()}
                for key in found.plan.keys
            ]
        ),
    )

"""From finished runs to the files of a cross-validation: tables, results, baselines, folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from data.judgements.splits import Split
from pipeline.evaluate import published
from pipeline.evaluate.baselines import BASELINES, baseline_scores
from pipeline.evaluate.plan import EvaluationPlan
from pipeline.evaluate.runs import read_result
from pipeline.evaluate.statistics import Scored, compare, estimate, right
from pipeline.evaluate.tables import Table, TableRow, baseline_row, fixed_rows, variant_row
from pipeline.runner.files import write_csv, write_json, write_text
from pipeline.runs.record import FoldsRecord, write_folds
from pipeline.shell.words import counted, finite
from pipeline.train_ranker.plan import PROTOCOLS

#: Of each variant the content of its runs' files, by fold and seed.
Results = Mapping[str, Sequence[Mapping[str, Any]]]


def tabulate(plan: EvaluationPlan) -> Table:
    """Turn finished runs into tables, and write them."""
    options, splits = plan.settings.options, plan.splits
    results: Results = {
        variant: [read_result(plan, run) for run in plan.runs if run.variant == variant]
        for variant in plan.variants
    }
    scored = {
        variant: _folded([run["scores"] for run in runs], options.seeds)
        for variant, runs in results.items()
    }
    measured, left_out = baseline_scores(
        plan.settings.features,
        plan.keys,
        {each.source: getattr(options, each.source, None) for each in BASELINES},
        spans=plan.spans,
        jobs=replace(plan.settings.jobs, shard=None),
    )
    rows = _variant_rows(plan, scored)
    for name, values in measured.items():
        if len(set(values.values())) > 1:
            rows.append(baseline_row(name, values, splits, plan.scores))
        else:
            left_out.append(f"baseline '{name}' left out: it is the same for all videos")
    attention = attention_rows(results)
    table = Table(
        title=_title(plan),
        reference=plan.variants[0],
        rows=(*rows, *fixed_rows(splits)),
        notes=tuple(_notes(plan, results)),
        details=(*training_lines(splits, scored), *left_out, *attention_lines(attention)),
        protocol=PROTOCOLS[plan.settings.train.protocol],
    )
    _write_tables(plan, table)
    _write_results(plan, table, results, attention)
    _write_baselines(plan, measured)
    clusters = dict(plan.clusters) if plan.clusters else None
    record = FoldsRecord(splits=plan.splits, groups=clusters, known=plan.dataset.known)
    write_folds(plan.settings.output, record)
    return table


def _folded(scores: list[Mapping[str, float]], seeds: int) -> list[list[Mapping[str, float]]]:
    return [scores[i : i + seeds] for i in range(0, len(scores), seeds)]


def _variant_rows(plan: EvaluationPlan, scored: Mapping[str, Scored]) -> list[TableRow]:
    """Return a row for each variant; all but the first are compared with the first."""
    splits, reference = plan.splits, scored[plan.variants[0]]
    rows = []
    for variant, ours in scored.items():
        change = None
        if ours is not reference:
            change = compare(splits, ours, reference, plan.clusters, plan.settings.options.draws)
        known = plan.dataset.known
        rows.append(variant_row(variant, splits, ours, plan.scores, known=known, difference=change))
    return rows


def _title(plan: EvaluationPlan) -> str:
    tests = sum(len(split.test) for split in plan.splits)
    return (
        f"{plan.dataset.name}: {len(plan.keys)} videos, {tests} tests of pairs, "
        f"{counted(len(plan.splits), 'fold')} ({plan.dataset.folds_source}), "
        f"{counted(plan.settings.options.seeds, 'seed')}"
    )


def _notes(plan: EvaluationPlan, results: Results) -> list[str]:
    """Return the lines that belong below every form of the table."""
    protocol = plan.settings.train.protocol
    lines = [
        f"protocol: {PROTOCOLS[protocol]}",
        "±: standard error over fold means"
        if len(plan.splits) > 1
        else "±: standard error over seeds (one fold)",
        "a baseline's direction is chosen on each fold's training pairs",
    ]
    if len(plan.variants) > 1:
        lines.append(
            f"[95 %]: bootstrap over {'groups of videos' if plan.clusters else 'videos'} and "
            f"seeds, {plan.settings.options.draws} draws, folds and trained models as they are"
        )
    if plan.skipped:
        lines.append(plan.skipped)
    lines += published.notes(plan.dataset.known)
    last = [run for runs in results.values() for run in runs if run["protocol"] != protocol]
    if last:
        lines.append(f"{len(last)} runs took the last epoch: too few pairs to hold videos out")
    return lines


def training_lines(splits: Sequence[Split], scored: Mapping[str, Scored]) -> list[str]:
    """Return how many training pairs each variant gets right, mean over folds and seeds.

    A variant far below the others needs longer training; its row says little about it. A single
    variant gets no line.
    """
    if len(scored) < 2:
        return []
    shares = []
    for variant, folds in scored.items():
        right_ones = [
            right(scores, split.train).mean()
            for split, seeds in zip(splits, folds, strict=True)
            for scores in seeds
        ]
        shares.append(f"{variant} {100 * np.mean(right_ones):.1f}")
    return [
        f"training pairs right, % (far below the others: trained too little): {', '.join(shares)}"
    ]


def attention_rows(results: Results) -> list[dict[str, Any]]:
    """Return how attention agrees with known boxes on held-out videos, by variant.

    Three rows a variant: trained, untrained, and chance. Errors are over the folds' means, as in
    the table of accuracies.
    """
    rows = []
    for variant, runs in results.items():
        folds: dict[str, list[Mapping[str, Any]]] = {}
        for run in runs:
            if run.get("attention"):
                folds.setdefault(run["fold"], []).append(run["attention"])
        for name in ("trained", "untrained", "chance") if folds else ():
            row: dict[str, Any] = {"variant": variant, "attention": name}
            for measure in ("mass", "pointing"):
                means = [
                    np.mean([each[name][measure] for each in seeds]) for seeds in folds.values()
                ]
                mean = estimate(np.array(means)[:, None])
                row |= {f"{measure}_mean": mean.mean, f"{measure}_error": mean.error}
            rows.append(row)
    return rows


def attention_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each variant of `attention_rows`."""
    numbers: dict[str, list[str]] = {}
    for row in rows:
        numbers.setdefault(row["variant"], []).append(
            f"{row['attention']} {row['mass_mean']:.3f} / {row['pointing_mean']:.3f}"
        )
    return [
        f"attention of {variant}, mass in the box / pointing game, on held-out videos: "
        f"{', '.join(each)}"
        for variant, each in numbers.items()
    ]


def _write_tables(plan: EvaluationPlan, table: Table) -> None:
    forms = {
        "txt": table.as_text(),
        "md": table.as_markdown(),
        "tex": table.as_latex(),
        "csv": table.as_csv(),
    }
    for form, text in forms.items():
        write_text(plan.settings.output / f"table.{form}", text.rstrip("\n") + "\n")


def _write_results(
    plan: EvaluationPlan, table: Table, results: Results, attention: list[dict[str, Any]]
) -> None:
    """Write ``results.json`` and, where attention was measured, ``attention.csv``."""
    output, label = plan.settings.output, {"protocol": table.protocol}
    runs = [
        {name: value for name, value in run.items() if name != "settings"}
        for each in results.values()
        for run in each
    ]
    content = {**table.as_json(), **label, "attention": finite(attention), "runs": runs}
    write_json(output / "results.json", content)
    if attention:
        write_csv(output / "attention.csv", [row | label for row in attention])


def _write_baselines(plan: EvaluationPlan, measured: Mapping[str, Mapping[str, float]]) -> None:
    rows = [
        {"video": key} | {name: values[key] for name, values in measured.items()}
        for key in plan.keys
    ]
    write_csv(plan.settings.output / "baselines.csv", rows)

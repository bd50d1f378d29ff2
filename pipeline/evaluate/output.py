"""From finished runs to the files of a cross-validation: tables, results, baselines, folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.evaluate import published
from pipeline.evaluate.baselines import BASELINES, baseline_scores
from pipeline.evaluate.fitted import score_baselines
from pipeline.evaluate.margins import measure_margins, sentences
from pipeline.evaluate.plan import EvaluationPlan
from pipeline.evaluate.rows import baseline_row, fixed_rows, task_rows, variant_row
from pipeline.evaluate.runs import read_result
from pipeline.evaluate.statistics import Scored, compare, estimate
from pipeline.evaluate.tables import Table, TableRow
from pipeline.runner.files import write_csv, write_json, write_text
from pipeline.runs.record import FoldsRecord, write_folds
from pipeline.runs.training_accuracy import undertrained
from pipeline.shell.console import log
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
    baselines, constant = score_baselines(plan, measured)
    left_out += constant
    margins = measure_margins(splits, scored, baselines, plan.clusters, options.draws)
    attention = attention_rows(results)
    table = Table(
        title=_title(plan),
        reference=plan.variants[0],
        rows=tuple(_rows(plan, scored, baselines)),
        notes=tuple(_notes(plan, results)),
        details=(
            *(line for variant in scored for line in sentences(margins, variant)),
            *training_lines(results, plan.settings.preset),
            *left_out,
            *attention_lines(attention),
        ),
        protocol=PROTOCOLS[plan.settings.train.protocol],
        margins=margins,
    )
    _write_tables(plan, table)
    _write_results(plan, table, results, baselines, attention)
    _write_baselines(plan, measured)
    clusters = dict(plan.clusters) if plan.clusters else None
    record = FoldsRecord(
        splits=plan.splits,
        groups=clusters,
        known=plan.dataset.known,
        tasks=dict(plan.tasks),
        agreement=plan.agreement,
    )
    write_folds(plan.settings.output, record)
    return table


def _folded(scores: list[Mapping[str, float]], seeds: int) -> list[list[Mapping[str, float]]]:
    return [scores[i : i + seeds] for i in range(0, len(scores), seeds)]


def _rows(
    plan: EvaluationPlan, scored: Mapping[str, Scored], baselines: Mapping[str, Scored]
) -> list[TableRow]:
    """Return the rows of variants and baselines, bounds, and then all of them for each task.

    All variants but the first are compared with the first.
    """
    splits, truth, reference = plan.splits, plan.scores, scored[plan.variants[0]]
    known, rows, tasks = plan.dataset.known, [], []
    for variant, ours in scored.items():
        change = None
        if ours is not reference:
            change = compare(splits, ours, reference, plan.clusters, plan.settings.options.draws)
        rows.append(variant_row(variant, splits, ours, truth, known=known, difference=change))
        tasks += task_rows(rows[-1], splits, ours, truth, plan.tasks)
    for name, theirs in baselines.items():
        rows.append(baseline_row(name, splits, theirs, truth))
        tasks += task_rows(rows[-1], splits, theirs, truth, plan.tasks)
    return [*rows, *fixed_rows(splits), *tasks]


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
        "baselines: a number's direction is chosen on each fold's training pairs; memory: win "
        "rates of the training videos, a pair of two unseen ones counts half; pooled: linear "
        "ranker on mean, deviation, maximum and change of each channel",
        f"[95 %]: bootstrap over {'groups of videos' if plan.clusters else 'videos'} and "
        f"seeds, {plan.settings.options.draws} draws, folds and trained models as they are; "
        "beaten: the interval of the difference lies above 0",
    ]
    if plan.agreement:
        lines += [f"judges: {line}" for line in plan.agreement.lines()]
    if plan.tied and plan.settings.judgements.ties:
        weight = plan.settings.judgements.ties
        lines.append(f"{counted(len(plan.tied), 'tie')}, each of weight {weight:g} in training")
    if plan.skipped:
        lines.append(plan.skipped)
    lines += published.notes(plan.dataset.known)
    if "blend" in results:
        lines.append(
            "blend: each of its networks leaves one part of the training videos out, and takes the "
            "last epoch"
        )
    other = [runs for variant, runs in results.items() if variant != "blend"]
    last = [run for runs in other for run in runs if run["protocol"] != protocol]
    if last:
        lines.append(f"{len(last)} runs took the last epoch: too few pairs to hold videos out")
    return lines


def training_lines(results: Results, preset: str) -> list[str]:
    """Return the training accuracy of each variant, mean over folds and seeds; warn of low ones.

    A variant far below the others needs longer training; its row says little about it.
    """
    shares = {
        variant: float(np.mean([run["training_accuracy"] for run in runs]))
        for variant, runs in results.items()
    }
    listed = ", ".join(f"{variant} {100 * share:.1f}" for variant, share in shares.items())
    hint = " (far below the others: trained too little)" if len(shares) > 1 else ""
    warnings = [
        f"{variant}: {line}"
        for variant, share in shares.items()
        if (line := undertrained(preset, share))
    ]
    for line in warnings:
        log.warning("%s", line)
    return [f"training pairs right, %{hint}: {listed}", *warnings]


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
    plan: EvaluationPlan,
    table: Table,
    results: Results,
    baselines: Mapping[str, Scored],
    attention: list[dict[str, Any]],
) -> None:
    """Write ``results.json`` and, where attention was measured, ``attention.csv``."""
    output, label = plan.settings.output, {"protocol": table.protocol}
    runs = [
        {name: value for name, value in run.items() if name != "settings"}
        for each in results.values()
        for run in each
    ]
    guesses = [
        {"baseline": name, "fold": split.name, "scores": scores}
        for name, scored in baselines.items()
        for split, each in zip(plan.splits, scored, strict=True)
        for scores in each
    ]
    content = {**table.as_json(), **label, "attention": finite(attention), "runs": runs}
    content["baselines"] = guesses
    write_json(output / "results.json", content)
    if attention:
        write_csv(output / "attention.csv", [row | label for row in attention])


def _write_baselines(plan: EvaluationPlan, measured: Mapping[str, Mapping[str, float]]) -> None:
    rows = [
        {"video": key} | {name: values[key] for name, values in measured.items()}
        for key in plan.keys
    ]
    write_csv(plan.settings.output / "baselines.csv", rows)

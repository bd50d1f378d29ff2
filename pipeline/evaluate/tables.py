"""The table of a cross-validation: its rows, and its text, CSV, JSON, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from data.judgements.pairs import check_pairs
from data.judgements.splits import Split
from data.tables import formula_safe
from pipeline.evaluate import published
from pipeline.evaluate.statistics import (
    Estimate,
    Interval,
    Scored,
    accuracies,
    estimate,
    rank_correlations,
    training_sign,
)
from pipeline.shell.words import finite, table_text


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One method.

    Attributes
    ----------
    method : str
        Variant, or name of a baseline.
    kind : str
        ``"variant"``, ``"baseline"`` or ``"bound"``.
    accuracy, both_unseen, one_unseen : Estimate
        Pair accuracies as shares; of all test pairs, and of those with both or one video unseen.
    kendall, spearman : Estimate or None
        Rank correlations over held-out videos, where the annotation has scores.
    published : float or None
        Accuracy in per cent that others published for this method on this data set.
    difference : Interval or None
        Accuracy less that of the first variant.
    """

    method: str
    kind: str
    accuracy: Estimate
    both_unseen: Estimate
    one_unseen: Estimate
    kendall: Estimate | None = None
    spearman: Estimate | None = None
    published: float | None = None
    difference: Interval | None = None


def variant_row(
    variant: str,
    splits: Sequence[Split],
    scored: Scored,
    truth: Mapping[str, float] | None,
    *,
    known: str | None,
    difference: Interval | None,
) -> TableRow:
    """Return the row of a trained variant; `known` names a data set with published numbers."""
    row = _row(variant, "variant", splits, scored, truth)
    return replace(row, published=published.accuracy(variant, known), difference=difference)


def baseline_row(
    name: str,
    values: Mapping[str, float],
    splits: Sequence[Split],
    truth: Mapping[str, float] | None,
) -> TableRow:
    """Return the row of a baseline; its direction is chosen on each fold's training pairs."""
    signs = [training_sign(values, split.train) for split in splits]
    scored = [[{key: sign * value for key, value in values.items()}] for sign in signs]
    return _row(f"{name} (baseline)", "baseline", splits, scored, truth)


def fixed_rows(splits: Sequence[Split]) -> list[TableRow]:
    """Return the rows of chance and of the highest accuracy that a ranking of each fold reaches."""

    def row(method: str, kind: str, accuracy: float, of_parts: float) -> TableRow:
        whole, part = (Estimate(value, math.nan, math.nan, 1) for value in (accuracy, of_parts))
        return TableRow(method=method, kind=kind, accuracy=whole, both_unseen=part, one_unseen=part)

    bounds = [check_pairs(split.test).attainable for split in splits]
    name = "attainable" if min(bounds) == 1 else "attainable, at most"
    return [
        row("chance (baseline)", "baseline", 0.5, 0.5),
        row(name, "bound", float(np.mean(bounds)), math.nan),
    ]


def _row(
    method: str,
    kind: str,
    splits: Sequence[Split],
    scored: Scored,
    truth: Mapping[str, float] | None,
) -> TableRow:
    kendall = spearman = None
    if truth is not None:
        both = np.array(
            [
                [
                    rank_correlations(scores, truth, sorted(split.held_out & truth.keys()))
                    for scores in seeds
                ]
                for split, seeds in zip(splits, scored, strict=True)
            ]
        )
        kendall, spearman = estimate(both[:, :, 0]), estimate(both[:, :, 1])
    return TableRow(
        method=method,
        kind=kind,
        accuracy=estimate(accuracies(splits, scored)),
        both_unseen=estimate(accuracies(splits, scored, unseen=2)),
        one_unseen=estimate(accuracies(splits, scored, unseen=1)),
        kendall=kendall,
        spearman=spearman,
    )


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows with a title and notes.

    Attributes
    ----------
    title : str
    reference : str
        Variant that the others are compared with.
    rows : tuple of TableRow
    notes, details : tuple of str
        Lines below the table; LaTeX leaves the details out.
    protocol : str
        How the variants' epochs were chosen. The CSV has no notes and gives it in each variant's
        row.
    """

    title: str
    reference: str
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    details: tuple[str, ...] = ()
    protocol: str = ""

    def header(self) -> list[str]:
        """Return the columns' names; columns without any value are left out."""
        return [name for name, _ in self._columns()]

    def cells(self) -> list[list[str]]:
        """Return the rows as text."""
        columns = [values for _, values in self._columns()]
        return [[values[i] for values in columns] for i in range(len(self.rows))]

    def _columns(self) -> list[tuple[str, list[str]]]:
        rows = self.rows
        columns = [
            ("method", [row.method for row in rows]),
            ("pair accuracy, %", [_percent(row.accuracy) for row in rows]),
            ("both unseen, %", [_percent(row.both_unseen) for row in rows]),
            ("one unseen, %", [_percent(row.one_unseen) for row in rows]),
            ("Kendall's tau", [_plain(row.kendall) for row in rows]),
            ("Spearman's rho", [_plain(row.spearman) for row in rows]),
            (f"less {self.reference} [95 %]", [_interval(row.difference) for row in rows]),
            ("published, %", ["" if r.published is None else f"{r.published:.1f}" for r in rows]),
        ]
        return [(name, values) for name, values in columns if any(values)]

    def as_text(self) -> str:
        """Return the table for a terminal."""
        lines = table_text([self.header(), *self.cells()], rule=True)
        return "\n".join([self.title, "", lines, "", *self.notes, *self.details])

    def as_markdown(self) -> str:
        """Return the table for a README."""
        header = self.header()
        rule = ["---", *(["---:"] * (len(header) - 1))]
        lines = [f"| {' | '.join(line)} |" for line in (header, rule, *self.cells())]
        return "\n".join(
            [f"**{self.title}**", "", *lines, "", *(f"- {n}" for n in (*self.notes, *self.details))]
        )

    def as_latex(self) -> str:
        """Return the table for a paper (booktabs)."""
        header = self.header()
        body = [" & ".join(map(_latex, line)) + r" \\" for line in self.cells()]
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_latex('. '.join([self.title, *self.notes]))}.}}",
                rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
                r"\toprule",
                " & ".join(map(_latex, header)) + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
            ]
        )

    def as_csv(self) -> str:
        """Return the table with every number unrounded and in a column of its own."""
        names = ("accuracy", "both_unseen", "one_unseen", "kendall", "spearman")
        parts = ("mean", "error", "seed_deviation", "folds")
        header = [
            "method",
            "kind",
            *(f"{n}_{p}" for n in names for p in parts),
            "difference",
            "difference_low",
            "difference_high",
            "published_percent",
            "protocol",
        ]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        for row in self.rows:
            numbers: list[Any] = []
            for name in names:
                value = getattr(row, name)
                numbers += [getattr(value, p) for p in parts] if value else [None] * len(parts)
            change = row.difference
            numbers += [change.mean, change.low, change.high] if change else [None] * 3
            protocol = self.protocol if row.kind == "variant" else ""
            numbers.append(row.published)
            writer.writerow([formula_safe(row.method), row.kind, *map(_number, numbers), protocol])
        return out.getvalue()

    def as_json(self) -> dict[str, Any]:
        """Return the table's content; NaN is null."""
        return {
            "title": self.title,
            "reference": self.reference,
            "rows": [finite(asdict(row)) for row in self.rows],
            "notes": [*self.notes, *self.details],
        }


def _percent(value: Estimate) -> str:
    if math.isnan(value.mean):
        return ""
    error = "" if math.isnan(value.error) else f" ± {100 * value.error:.1f}"
    return f"{100 * value.mean:.1f}{error}"


def _plain(value: Estimate | None) -> str:
    if value is None or math.isnan(value.mean):
        return ""
    return f"{value.mean:.3f}" + ("" if math.isnan(value.error) else f" ± {value.error:.3f}")


def _interval(value: Interval | None) -> str:
    if value is None:
        return ""
    return f"{100 * value.mean:+.1f} [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(value)


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "%": r"\%",
        "_": r"\_",
        "&": r"\&",
        "#": r"\#",
        "$": r"\$",
        "{": r"\{",
        "}": r"\}",
        "^": r"\^{}",
        "±": r"$\pm$",
        "×": r"$\times$",
    }
)


def _latex(text: str) -> str:
    return text.translate(_LATEX)

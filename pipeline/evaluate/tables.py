"""The table of a cross-validation: its text, CSV, JSON, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass
from typing import Any

from data.tables import formula_safe
from pipeline.evaluate.margins import Margin
from pipeline.evaluate.statistics import Estimate, Interval
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
    task : str
        Task of a merged set that the row is about; empty for the whole set.
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
    task: str = ""

    @property
    def label(self) -> str:
        """The row's name in the tables."""
        return f"{self.method}, {self.task}" if self.task else self.method


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
    margins : tuple of Margin
        Every variant against every baseline.
    """

    title: str
    reference: str
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    details: tuple[str, ...] = ()
    protocol: str = ""
    margins: tuple[Margin, ...] = ()

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
            ("method", [row.label for row in rows]),
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
            "task",
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
            cells = [formula_safe(row.label), row.kind, *map(_number, numbers), protocol]
            writer.writerow([*cells, formula_safe(row.task)])
        return out.getvalue()

    def as_json(self) -> dict[str, Any]:
        """Return the table's content; NaN is null."""
        return {
            "title": self.title,
            "reference": self.reference,
            "rows": [finite(asdict(row)) for row in self.rows],
            "notes": [*self.notes, *self.details],
            "margins": [asdict(each) for each in self.margins],
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

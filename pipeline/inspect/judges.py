"""Judges: how well they agree, and the order that their judgements give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from data.errors import InputError
from data.judgements.agreement import Agreement, Judge, agreement
from data.judgements.bradley_terry import order
from data.judgements.comparisons import Comparison, decided, read_judges
from data.judgements.pairs import check_pairs
from pipeline.inspect.report import Report, failure
from pipeline.shell.words import counted, table_text


def inspect_judges(tables: Sequence[Path], *, ranking: bool) -> Report:
    """Report on several judges' tables together.

    Parameters
    ----------
    tables : sequence of Path
        Tables of comparisons; one without a column `judge` is one judge's own.
    ranking : bool
        Add the order of the videos.
    """
    shown = f"{counted(len(tables), 'table')} together"
    try:
        comparisons = read_judges(tables)
    except InputError as error:
        return failure(shown, tables[0], "judgements", error)
    checks = check_pairs(decided(comparisons))
    report = Report(shown, "judgements")
    report.facts = {
        "tables": list(map(str, tables)),
        "videos": checks.videos,
        "pairs": {"listed": checks.listed, "distinct": checks.distinct},
        "cycles": [list(group) for group in checks.cycles],
        "attainable": {"bound": checks.attainable},
    }
    lines = checks.lines()
    if ties := len(comparisons) - checks.listed:
        lines.append(counted(ties, "tie"))
    report.rows = [("" if number else "holds", line) for number, line in enumerate(lines)]
    add_judges(report, comparisons, ranking=ranking)
    return report


def add_judges(report: Report, comparisons: Sequence[Comparison], *, ranking: bool) -> None:
    """Add the judges' agreement, where something is known of it, and the order if asked for."""
    agreed = agreement(comparisons)
    if agreed.judges:
        report.facts["agreement"] = agreed.as_dict()
        report.add("judges", _table(agreed))
        for number, line in enumerate(agreed.lines()):
            report.add("" if number else "agreement", line)
    if ranking:
        add_ranking(report, comparisons)


def add_ranking(report: Report, comparisons: Sequence[Comparison]) -> None:
    """Add the order that the judgements alone give."""
    places = order(comparisons)
    report.facts["ranking"] = [asdict(place) for place in places]
    rows = [("rank", "possible", "strength", "95 %", "compared", "video")]
    rows += [
        (
            str(place.rank),
            f"{place.best}–{place.worst}",
            f"{place.strength:+.2f}",
            f"[{place.low:+.2f}, {place.high:+.2f}]",
            str(place.comparisons),
            place.video,
        )
        for place in places
    ]
    report.add("ranking", table_text(rows, left=(5,)))


def _table(agreed: Agreement) -> str:
    header = ("judge", "compared", "ties", "s each", "agrees with self", "agrees with others")
    return table_text([header, *map(_row, agreed.judges)])


def _row(judge: Judge) -> tuple[str, ...]:
    return (
        judge.name,
        str(judge.comparisons),
        str(judge.ties),
        "" if judge.seconds is None else f"{judge.seconds:.1f}",
        *(f"{share} of {share.pairs}" if share else "" for share in (judge.within, judge.between)),
    )

"""Comparisons of two videos as judges made them: reading tables of them, and their majority."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import InputError
from data.files import is_system_name
from data.judgements.pairs import Pair
from data.tables import Row, one_form, read_rows, read_words

_BETTER_WORSE = ("better", "worse")
_WINNER_NAMES = ("best", "better", "winner")
_FIRST_SECOND = (("vid1", "vid2"), ("video1", "video2"))
_TIES = frozenset({"tie", "tied", "equal", "same", "draw", "both", "none", "undecided", "0"})
# Values of a column `tie`, by what they say.
_TIED = {"yes": True, "true": True, "1": True, "tie": True, "": False, "no": False, "false": False,
         "0": False}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One answer of one judge.

    Attributes
    ----------
    pair : Pair
        Of a tie, the two videos in any order.
    tie : bool
        Whether the judge found them equal.
    judge : str
        Who; empty where the table does not say.
    time : str
        When, as the table says.
    seconds : float or None
        How long the answer took.
    """

    pair: Pair
    tie: bool = False
    judge: str = ""
    time: str = ""
    seconds: float | None = None


def read_pairs(path: str | Path) -> list[Pair]:
    """Read the pairs of a table as `read_comparisons`; ties are left out."""
    return decided(read_comparisons(path))


def decided(comparisons: Iterable[Comparison]) -> list[Pair]:
    """Return the pairs of which one video was found better."""
    return [each.pair for each in comparisons if not each.tie]


def tied(comparisons: Iterable[Comparison]) -> list[Pair]:
    """Return the pairs whose videos were found equal."""
    return [each.pair for each in comparisons if each.tie]


def read_comparisons(path: str | Path) -> list[Comparison]:
    """Read comparisons in file order, with every repetition that the file holds.

    Three forms are understood: a CSV with the columns ``better,worse``, and where it has them
    ``judge``, ``time``, ``seconds`` and ``tie`` (yes or no); a CSV with the header
    ``Vid1,Vid2,Best`` (or ``Better``), whose third column names the winner; and a text file
    (ending ``.txt``) of ``better worse`` lines without a header. Contradictions are kept: see
    `check_pairs`. A third cell that is empty (under ``Best``) or says ``tie``, ``equal``, ``same``,
    ``draw``, ``both``, ``none``, ``undecided`` or ``0`` is a tie.

    Raises
    ------
    InputError
        The file is unreadable or empty, has no known header, holds ties alone, or a row is
        malformed (wrong number of values, a video against itself, a winner that is neither video).
    """
    path = Path(path)
    if path.suffix.lower() == ".txt":
        comparisons = [_comparison(path, row, row.cells) for row in read_words(path)]
    else:
        comparisons = _of_table(path, read_rows(path))
    if not decided(comparisons):
        found = f", found {len(comparisons)} ties alone" if comparisons else ""
        raise InputError(
            f"{path} holds no pairs: expected one 'better,worse' comparison a line{found}"
        )
    return comparisons


def read_judges(paths: Sequence[Path]) -> list[Comparison]:
    """Read several judges' tables as one; a table that names no judge is one judge's own.

    Raises
    ------
    InputError
        As `read_comparisons`.
    """
    return [
        replace(each, judge=each.judge or path.stem)
        for path in paths
        for each in read_comparisons(path)
    ]


def tables_of_judges(folder: Path) -> list[Path]:
    """Return the tables of a folder that holds nothing but comparisons of judges; else none."""
    files = sorted(
        each
        for each in folder.iterdir()
        if not each.name.startswith(".") and not is_system_name(each.name)
    )
    if not files or not all(each.suffix.lower() == ".csv" and each.is_file() for each in files):
        return []
    return files if all(map(is_comparison_table, files)) else []


def is_comparison_table(path: Path) -> bool:
    """Whether a file is a table with the columns ``better`` and ``worse``."""
    if path.suffix.lower() != ".csv":
        return False
    try:
        rows = read_rows(path)
    except InputError:
        return False
    return bool(rows) and set(_BETTER_WORSE) <= {name.lower() for name in rows[0].cells}


def majority(pairs: Sequence[Pair], ties: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Return each two videos once, as most judgements say, and those of which no side has most.

    Parameters
    ----------
    pairs, ties : sequence of Pair
        All judgements of all judges.
    """
    votes = Counter(pairs)
    equal = Counter(frozenset((tie.better, tie.worse)) for tie in ties)
    seen: set[frozenset[str]] = set()
    most: list[Pair] = []
    even: list[Pair] = []
    for pair in (*pairs, *ties):
        both = frozenset((pair.better, pair.worse))
        if both in seen:
            continue
        seen.add(both)
        ways = (votes[pair], votes[pair.reversed()])
        if ways[0] == ways[1] or equal[both] >= max(ways):
            even.append(pair)
        else:
            most.append(pair if ways[0] > ways[1] else pair.reversed())
    return most, even


def _of_table(path: Path, rows: Sequence[Row]) -> list[Comparison]:
    """Read the rows after a header of one of the known forms."""
    if not rows:
        raise InputError(f"{path} is empty: expected the header 'better,worse' and one pair a line")
    header = tuple(name.lower() for name in rows[0].cells)
    if header == _BETTER_WORSE:
        return [_comparison(path, row, row.cells) for row in rows[1:]]
    if len(header) == 3 and header[:2] in _FIRST_SECOND and header[2] in _WINNER_NAMES:
        return [_comparison(path, row, _winner_first(path, row)) for row in rows[1:]]
    if set(_BETTER_WORSE) <= set(header):
        column = {name: number for number, name in reversed(list(enumerate(header)))}
        return [_judged(path, row, column) for row in rows[1:]]
    raise InputError(
        f"{path}: expected the columns 'better,worse' (or 'Vid1,Vid2,Best'), found "
        f"'{','.join(rows[0].cells)}'; add the header line if it is missing"
    )


def _judged(path: Path, row: Row, column: dict[str, int]) -> Comparison:
    """Read a row of a table with more columns than the two videos."""

    def cell(name: str) -> str:
        number = column.get(name, len(row.cells))
        return row.cells[number] if number < len(row.cells) else ""

    word = cell("tie").lower()
    if word not in _TIED:
        raise InputError(f"{path}, line {row.line}: expected yes or no for 'tie', found '{word}'")
    names = [name for name in map(cell, _BETTER_WORSE) if name]
    comparison = _comparison(path, row, names)
    return replace(
        comparison,
        tie=comparison.tie or _TIED[word],
        judge=one_form(cell("judge")),
        time=cell("time"),
        seconds=_seconds(row, column),
    )


def _seconds(row: Row, column: dict[str, int]) -> float | None:
    """Return the time that an answer took; None where the column holds something else."""
    try:
        return row.number(column["seconds"])
    except (KeyError, IndexError, ValueError):
        return None


def _is_tie(cells: Sequence[str]) -> bool:
    """Whether a row is two videos and a word for a tie, which neither video is called."""
    return len(cells) == 3 and cells[2] not in cells[:2] and cells[2].lower() in _TIES


def _winner_first(path: Path, row: Row) -> tuple[str, ...]:
    """Turn ``first, second, winner`` into ``better, worse``; without a winner it is a tie."""
    if len(row.cells) == 2 and all(row.cells):
        return (*row.cells, "tie")
    if _is_tie(row.cells):
        return row.cells
    if len(row.cells) != 3 or row.cells[2] not in row.cells[:2]:
        raise InputError(
            f"{path}, line {row.line}: expected two videos and which of them is "
            f"better (or 'tie', or nothing), found '{','.join(row.cells)}'"
        )
    first, second, winner = row.cells
    return (first, second) if winner == first else (second, first)


def _comparison(path: Path, row: Row, cells: Sequence[str]) -> Comparison:
    """Read the better and the worse video, or a tie, from the cells that say so."""
    tie = _is_tie(cells)
    if len(cells) - tie != 2 or not all(cells):
        raise InputError(
            f"{path}, line {row.line}: expected two video names, the better first, "
            f"found '{' '.join(row.cells)}'"
        )
    better, worse = map(one_form, cells[:2])
    if better == worse:
        raise InputError(f"{path}, line {row.line}: '{better}' is compared with itself")
    return Comparison(pair=Pair(better, worse), tie=tie)

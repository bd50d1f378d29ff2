"""Pairs of videos, made from scores or not, and whether they agree with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import InputError
from data.tables import Row, one_form, read_rows

_VIDEO = ("video", "path", "name")
_SCORE = ("score", "skill")


@dataclass(frozen=True)
class Pair:
    """One judgement: the video called `better` shows more skill than the one called `worse`.

    Names are those of the annotation until they are matched to cache keys.
    """

    better: str
    worse: str

    def reversed(self) -> Pair:
        """Return the opposite judgement."""
        return Pair(self.worse, self.better)


def videos_of(pairs: Iterable[Pair]) -> list[str]:
    """Return the distinct video names of `pairs`, sorted."""
    return sorted({name for pair in pairs for name in (pair.better, pair.worse)})


def is_score_table(path: Path) -> bool:
    """Whether a CSV has a column of videos and one of scores."""
    return path.suffix.lower() != ".txt" and None not in _score_columns(read_rows(path))


def _score_columns(rows: Sequence[Row]) -> tuple[int | None, int | None]:
    """Columns of the videos and of their scores, where the header names them."""
    header = [name.lower() for name in rows[0].cells] if rows else []
    video, score = (
        next((header.index(name) for name in names if name in header), None)
        for names in (_VIDEO, _SCORE)
    )
    return video, score


def read_scores(path: Path) -> dict[str, float]:
    """Read a CSV with the columns ``video,score`` (or ``skill``), in file order.

    Other columns are ignored.

    Raises
    ------
    InputError
        A column is missing, a score is not a finite number, or a video is listed twice.
    """
    rows = read_rows(path)
    name_column, score_column = _score_columns(rows)
    if name_column is None or score_column is None:
        header = ",".join(rows[0].cells) if rows else "an empty file"
        raise InputError(f"{path}: expected the columns 'video,score', found '{header}'")
    scores: dict[str, float] = {}
    for row in rows[1:]:
        try:
            name, score = one_form(row.cells[name_column]), row.number(score_column)
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{path}, line {row.line}: expected a video and a finite score, "
                f"found '{','.join(row.cells)}'"
            ) from error
        if name in scores:
            raise InputError(f"{path}, line {row.line}: '{name}' is listed twice")
        scores[name] = score
    if not scores:
        raise InputError(f"{path} holds no scores: expected one 'video,score' a line")
    return scores


def pairs_from_scores(scores: Mapping[str, float], gap: float = 0.0) -> list[Pair]:
    """Return a pair for every two videos whose scores differ by more than `gap`."""
    if gap < 0:
        raise InputError(f"--score-gap must not be negative, found {gap:g}")
    names = list(scores)
    both = (
        (a, b) if scores[a] > scores[b] else (b, a)
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    )
    return [Pair(a, b) for a, b in both if scores[a] - scores[b] > gap]


@dataclass(frozen=True, kw_only=True)
class PairReport:
    """The result of `check_pairs`.

    Attributes
    ----------
    videos, listed, distinct : int
        Distinct videos; pairs as listed; pairs without repetitions.
    duplicates : tuple of (Pair, int)
        Pairs listed more than once, with how often.
    contradictions : tuple of (Pair, int, int)
        Pairs judged both ways, with how often each way (the direction listed first leads).
    cycles : tuple of tuple of str
        The videos of each strongly connected component of more than two videos, or of two
        that contradict each other: in none of them does an order agree with every pair.
    shortest_cycle : tuple of str
        One shortest chain "each better than the next, the last better than the first".
    components : int
        Groups of videos that no chain of pairs connects: scores compare only within one.
    attainable : float
        Bound in [0, 1] of the accuracy that any score can reach on the pairs as listed; 1 where
        they agree.
    """

    videos: int
    listed: int
    distinct: int
    duplicates: tuple[tuple[Pair, int], ...]
    contradictions: tuple[tuple[Pair, int, int], ...]
    cycles: tuple[tuple[str, ...], ...]
    shortest_cycle: tuple[str, ...]
    components: int
    attainable: float

    def lines(self, examples: int = 3) -> list[str]:
        """Return the report as lines of text, with at most `examples` examples of each fault."""
        lines = [f"{self.videos} videos, {self.distinct} distinct pairs, {self.listed} listed"]
        if self.duplicates:
            shown = [f"{p.better} > {p.worse} ({n} times)" for p, n in self.duplicates[:examples]]
            lines.append(_listing("pair", "listed more than once", len(self.duplicates), shown))
        if self.contradictions:
            shown = [
                f"{p.better} > {p.worse} ({a} for, {b} against)"
                for p, a, b in self.contradictions[:examples]
            ]
            lines.append(_listing("pair", "judged both ways", len(self.contradictions), shown))
        if self.cycles:
            involved = sum(map(len, self.cycles))
            chain = " > ".join([*self.shortest_cycle, self.shortest_cycle[0]])
            lines.append(
                _listing("cyclic group", f"({involved} videos in all)", len(self.cycles), [chain])
            )
        if self.components > 1:
            lines.append(
                f"{self.components} groups of videos that no pair connects: "
                "their scores cannot be compared across groups"
            )
        lines.append(f"attainable pair accuracy: {self.attainable_text}")
        return lines

    @property
    def attainable_text(self) -> str:
        """The bound in per cent."""
        return f"{'' if self.attainable == 1 else 'at most '}{100 * self.attainable:.2f} %"


def _listing(what: str, detail: str, count: int, shown: Sequence[str]) -> str:
    return f"{count} {what}{'s' * (count != 1)} {detail}, e.g. {'; '.join(shown)}"


def check_pairs(pairs: Sequence[Pair]) -> PairReport:
    """Count repetitions, contradictions and cycles, and bound the accuracy that they leave."""
    from data.judgements import ordering  # loads SciPy

    listed = Counter(pairs)
    names = videos_of(listed)
    index = {name: i for i, name in enumerate(names)}
    graph = ordering.graph_of(
        len(names), {(index[p.better], index[p.worse]): n for p, n in listed.items()}
    )
    groups = ordering.cyclic_groups(graph)
    matrices = [graph[group][:, group].toarray() for group in groups]
    cycles = [
        tuple(names[group[i]] for i in ordering.shortest_cycle(matrix))
        for group, matrix in zip(groups, matrices, strict=True)
    ]
    broken = sum(map(ordering.broken_at_least, matrices))
    return PairReport(
        videos=len(names),
        listed=len(pairs),
        distinct=len(listed),
        duplicates=tuple((p, n) for p, n in listed.items() if n > 1),
        contradictions=tuple(_contradictions(listed)),
        cycles=tuple(tuple(names[i] for i in group) for group in groups),
        shortest_cycle=min(cycles, key=len, default=()),
        components=ordering.count_components(graph),
        attainable=1 - broken / max(len(pairs), 1),
    )


def _contradictions(listed: Counter[Pair]) -> Iterator[tuple[Pair, int, int]]:
    reported: set[Pair] = set()
    for pair, count in listed.items():
        if pair.reversed() in listed and pair.reversed() not in reported:
            reported.add(pair)
            yield pair, count, listed[pair.reversed()]

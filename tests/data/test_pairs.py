"""Reading comparisons and finding what no score can satisfy."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.judgements.comparisons import read_pairs
from data.judgements.pairs import Pair, check_pairs

pairs_of_few = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda p: p[0] != p[1]),
    min_size=1,
    max_size=25,
).map(lambda rows: [Pair(f"v{a}", f"v{b}") for a, b in rows])


def _write(folder: Path, text: str, name: str = "pairs.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "better,worse\na,b\nb,c\n",
        "Better,Worse,\r\na,b,\r\nb,c,\r\n\r\n",  # trailing commas, CRLF, a blank line
        "\ufeffbetter;worse\na;b\nb;c\n",  # a spreadsheet's export: byte-order mark, semicolons
        "Vid1,Vid2,Best\na,b,a\nc,b,b\n",
        "Vid1,Vid2,Better,\r\na,b,a,\r\nc,b,b,\r\n",
        "rater,worse,better\nx,b,a\ny,c,b\n",  # further columns, other order
    ],
)
def test_known_table_forms_read_the_same(tmp_path: Path, text: str) -> None:
    """A quirk of the published files would otherwise lose, add or reverse judgements."""
    assert read_pairs(_write(tmp_path, text)) == [Pair("a", "b"), Pair("b", "c")]


def test_text_form_has_no_header(tmp_path: Path) -> None:
    """RAAN's first line is a judgement and must not be taken for a header."""
    path = _write(tmp_path, "T/a T/b \nT/b T/c\n", "train.txt")
    assert read_pairs(path) == [Pair("T/a", "T/b"), Pair("T/b", "T/c")]


def test_repetitions_are_kept(tmp_path: Path) -> None:
    """Published counts are of listings: dropping repetitions changes every accuracy."""
    assert len(read_pairs(_write(tmp_path, "better,worse\na,b\na,b\na,b\n"))) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("better,worse\n", "holds no pairs"),
        ("a,b\nb,c\n", "expected the columns 'better,worse'.*found 'a,b'"),
        ("better,worse\na,b\nc\n", "line 3: expected two video names"),
        ("better,worse\na,a\n", "line 2: 'a' is compared with itself"),
        ("Vid1,Vid2,Best\na,b,c\n", "line 2: expected two videos and which"),
    ],
)
def test_unusable_files_are_refused_with_their_place(
    tmp_path: Path, text: str, message: str
) -> None:
    """A malformed row read as something else would silently train on wrong judgements."""
    with pytest.raises(InputError, match=message):
        read_pairs(_write(tmp_path, text))


def test_missing_file_and_binary_file_are_refused(tmp_path: Path) -> None:
    """A traceback instead of one line would reach the user."""
    with pytest.raises(InputError, match="cannot read"):
        read_pairs(tmp_path / "absent.csv")
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_pairs(path)


def test_report_counts_contradictions_cycles_and_repetitions() -> None:
    """Annotators' slips must be shown, with examples, before anyone trains on them."""
    pairs = [Pair("a", "b")] * 3 + [
        Pair("b", "a"),
        Pair("b", "c"),
        Pair("c", "d"),
        Pair("d", "b"),
        Pair("x", "y"),
    ]
    report = check_pairs(pairs)
    assert (report.videos, report.listed, report.distinct) == (6, 8, 6)
    assert report.duplicates == ((Pair("a", "b"), 3),)
    assert report.contradictions == ((Pair("a", "b"), 3, 1),)
    assert report.cycles == (("a", "b", "c", "d"),)
    assert report.shortest_cycle == ("a", "b")
    assert report.components == 2
    # b > a once and one judgement of b > c > d > b must be broken: 6 of 8 remain.
    assert report.attainable == 0.75
    text = "\n".join(report.lines())
    for part in (
        "a > b (3 for, 1 against)",
        "1 pair judged both ways",
        "at most 75.00 %",
        "2 groups of videos",
    ):
        assert part in text


def test_consistent_pairs_report_no_fault() -> None:
    """A false alarm would send users looking for errors that are not there."""
    report = check_pairs([Pair("a", "b"), Pair("b", "c"), Pair("a", "c")])
    assert not report.cycles
    assert not report.contradictions
    assert report.attainable == 1
    assert report.lines()[-1] == "attainable pair accuracy: 100.00 %"
    assert report.components == 1


def _best_by_trying_all(pairs: list[Pair]) -> float:
    names = sorted({n for p in pairs for n in (p.better, p.worse)})
    return max(
        sum(order.index(p.better) < order.index(p.worse) for p in pairs)
        for order in permutations(names)
    ) / len(pairs)


@given(pairs_of_few)
def test_no_order_beats_the_attainable_accuracy(pairs: list[Pair]) -> None:
    """A bound below the truth would blame the annotators for the model's mistakes."""
    report = check_pairs(pairs)
    assert report.attainable >= _best_by_trying_all(pairs) - 1e-12  # rounded separately
    # A cycle costs at least one judgement, and without one nothing is lost.
    assert (report.attainable == 1) == (not report.cycles)


@given(pairs_of_few)
def test_the_shortest_cycle_is_a_chain_of_judgements(pairs: list[Pair]) -> None:
    """The example would send users looking for judgements that nobody made."""
    chain = check_pairs(pairs).shortest_cycle
    assert all(Pair(a, b) in pairs for a, b in zip(chain, (*chain[1:], *chain[:1]), strict=True))
    if any(pair.reversed() in pairs for pair in pairs):
        assert len(chain) == 2


def test_a_long_cycle_is_named_whole_and_costs_one() -> None:
    """A cycle through many videos must still be found, and shown whole."""
    n = 30
    names = [f"v{i:02}" for i in range(n)]
    report = check_pairs([Pair(names[i], names[(i + 1) % n]) for i in range(n)])
    assert len(report.shortest_cycle) == n
    assert report.attainable == pytest.approx(1 - 1 / n)


def test_cycles_that_share_no_judgement_cost_one_each() -> None:
    """Only the first of several cycles in a group is counted: the bound is far too high."""
    ring = ["ab", "bc", "ca", "cd", "de", "ec", "ef", "fg", "ge"]
    report = check_pairs([Pair(*names) for names in ring])
    assert len(report.cycles) == 1
    assert report.attainable == pytest.approx(1 - 3 / 9)

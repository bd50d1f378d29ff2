"""Counts, sizes, durations and tables as people read them."""

from __future__ import annotations

from pipeline.shell.words import counted, finite, format_bytes, format_duration, table_text


def test_durations_and_sizes_read_as_people_say_them() -> None:
    """Wrong units in a dry run would make the user plan for the wrong disk or day."""
    assert [format_duration(s) for s in (0.84, 42.4, 185, 7830)] == [
        "0.8 s",
        "42 s",
        "3 min 05 s",
        "2 h 10 min",
    ]
    assert [format_bytes(n) for n in (512, 25_088, 3_211_264, 999_999)] == [
        "512 B",
        "25.1 KB",
        "3.2 MB",
        "1.0 MB",
    ]


def test_one_is_singular_and_thousands_are_separated() -> None:
    """`1 videos` in a summary, or a count without separators."""
    assert [counted(number, "video") for number in (0, 1, 1024)] == [
        "0 videos",
        "1 video",
        "1,024 videos",
    ]
    assert counted(2, "series", "series") == "2 series"


def test_tables_align_names_to_the_left_and_numbers_to_the_right() -> None:
    """Columns that do not line up, or spaces at the ends of lines, spoil every table."""
    rows = [("method", "pairs", "note"), ("full", "7", ""), ("no_att", "1,024", "best")]
    assert table_text(rows, left=(0, 2), rule=True).split("\n") == [
        "method  pairs  note",
        "-------------------",
        "full        7",
        "no_att  1,024  best",
    ]


def test_json_content_holds_no_numbers_that_json_lacks() -> None:
    """NaN in a JSON document is a syntax error for most readers."""
    assert finite({"a": (1.5, float("nan")), 2: [float("inf")]}) == {"a": [1.5, None], "2": [None]}

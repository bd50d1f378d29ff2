"""inspect on judges' tables: agreement, and the order by judgements alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import cli
from tests.helpers.small_video import write_video


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """Write two judges' tables: they disagree on one pair of three, and one repeats himself."""
    anna, ben = tmp_path / "pairs_anna.csv", tmp_path / "pairs_ben.csv"
    anna.write_text(
        "better,worse,judge,time,seconds,tie\n"
        "a,b,Anna,t,4,no\nb,c,Anna,t,6,no\na,c,Anna,t,5,no\nc,d,Anna,t,9,yes\n"
    )
    ben.write_text("better,worse\na,b\nc,b\na,c\na,b\n")
    return [anna, ben]


def test_several_tables_are_also_seen_together(tables: list[Path]) -> None:
    """Each judge alone says nothing about their agreement."""
    result = run("inspect", *tables)
    assert result.exit_code == 0, result.output
    together = result.stdout.split("2 tables together")[1]
    assert "two judges agree on 66.7 % [20.8, 93.9] of 3 pairs" in together
    assert "a judge agrees with themselves on 100.0 %" in together
    assert "attainable accuracy against single judgements: at most about 78.9 %" in together
    assert "pairs_ben" in together
    assert "cycl" in together


def test_a_folder_of_tables_is_the_same(tables: list[Path]) -> None:
    """`train-ranker --pairs` takes the folder, so inspect must check it."""
    document = json.loads(run("inspect", tables[0].parent, "--json").stdout)
    one, both = document[0], json.loads(run("inspect", *tables, "--json").stdout)[-1]
    assert one["agreement"] == both["agreement"]
    assert one["agreement"]["between"]["pairs"] == 3


def test_the_ranking_has_intervals(tables: list[Path]) -> None:
    """An order without its uncertainty is taken for the truth."""
    result = run("inspect", *tables, "--ranking")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n  ranking") == 1
    rows = result.stdout.split("\n  ranking")[1].splitlines()
    assert rows[0].split() == ["rank", "possible", "strength", "95", "%", "compared", "video"]
    assert rows[1].split()[-1] == "a"
    document = json.loads(run("inspect", tables[1], "--ranking", "--json").stdout)
    assert [place["video"] for place in document[0]["ranking"]] == ["a", "c", "b"]


def test_a_ranking_of_nothing_is_refused(tmp_path: Path) -> None:
    """A flag without effect hides that the path was the wrong one."""
    write_video(tmp_path / "a.avi", 3)
    result = run("inspect", tmp_path / "a.avi", "--ranking")
    assert result.exit_code == 2
    assert "none of the paths holds any" in result.stderr

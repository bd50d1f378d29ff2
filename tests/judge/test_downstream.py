"""What judges said, in train-ranker, evaluate and report: ties, majority, agreement."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import cli
from pipeline.runs.record import read_folds, read_run_record
from tests.evaluate.material import FAST, VIDEOS, write_features
from tests.helpers.report_html import Page

SMALL = FAST[:-2]


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make features of 12 videos, and the tables of two judges who disagree on every fifth pair."""
    folder = tmp_path_factory.mktemp("downstream")
    write_features(folder / "features")
    (folder / "judges").mkdir()
    for judge in ("anna", "ben"):
        lines = ["better,worse,judge,time,seconds,tie"]
        for number, (a, b) in enumerate(combinations(range(VIDEOS), 2)):
            tie = number % 11 == 0
            turned = judge == "ben" and number % 5 == 1
            first, second = (b, a) if turned else (a, b)
            lines.append(f"v{first:02},v{second:02},{judge},t,3,{'yes' if tie else 'no'}")
        (folder / "judges" / f"pairs_{judge}.csv").write_text("\n".join(lines) + "\n")
    return folder


def train(place: Path, output: Path, *more: object) -> Result:
    words = ("--features", place / "features", "--pairs", place / "judges", "-o", output)
    result = run("train-ranker", *words, *SMALL, *more)
    assert result.exit_code == 0, result.output
    return result


def counts(run_folder: Path) -> int:
    record = read_run_record(run_folder)
    assert record is not None
    return len(record.train) + len(record.validation)


def test_all_judgements_or_the_majority_train(place: Path, tmp_path: Path) -> None:
    """Pairs that many judged would outweigh the others without a way to change it."""
    told = train(place, tmp_path / "all", "--protocol", "last")
    assert "12 ties left out" in told.stderr
    assert counts(tmp_path / "all") == 120
    told = train(place, tmp_path / "most", "--protocol", "last", "--judges", "majority")
    assert "18 ties left out" in told.stderr  # 12 pairs have one vote each way
    assert counts(tmp_path / "most") == 48


def test_ties_have_a_weight_in_training(place: Path, tmp_path: Path) -> None:
    """`--ties` that changes nothing, or a fit that ignores it when it goes on."""
    without = train(place, tmp_path / "without", "--protocol", "last")
    used = train(place, tmp_path / "used", "--protocol", "last", "--ties", 1)
    assert "12 ties, each of weight 1 in training" in used.stderr
    assert "left out" not in used.stderr
    assert "12 ties of these videos" in used.stderr
    assert "ties of these videos" not in without.stderr
    scores = [(tmp_path / name / "scores.csv").read_text() for name in ("without", "used")]
    assert scores[0] != scores[1]
    words = ("--features", place / "features", "--pairs", place / "judges", *SMALL)
    words += ("--protocol", "last", "-o", tmp_path / "used", "--resume", "--epochs", 16)
    other = run("train-ranker", *words)
    assert other.exit_code == 2  # The ties belong to the run.
    assert run("train-ranker", *words, "--ties", 1).exit_code == 0


def test_the_page_shows_the_judges_beside_the_accuracy(place: Path, tmp_path: Path) -> None:
    """An accuracy of 80 % looks poor to a reader who does not know that judges agree on 80 %."""
    train(place, tmp_path / "run")
    record = read_run_record(tmp_path / "run")
    assert record is not None
    assert record.agreement is not None
    assert record.agreement.between is not None
    assert record.agreement.between.pairs == 60
    assert record.agreement.between.share == pytest.approx(1 - 12 / 60)
    page = tmp_path / "report.html"
    assert run("report", tmp_path / "run", "-o", page).exit_code == 0
    text = Page(page.read_text(encoding="utf-8"))
    assert text.faults == []
    assert "80.0 % two judges agree" in text.text
    assert "88.7 % attainable against single judgements, at most about" in text.text
    assert "two judges agree on 80.0 % [68.2, 88.2] of 60 pairs" in text.text


def test_an_evaluation_says_how_well_judges_agree(place: Path, tmp_path: Path) -> None:
    """The table's accuracy has no scale without the judges' own."""
    words = ("--features", place / "features", "--pairs", place / "judges", "--seeds", 1)
    words += ("--folds", 2, "--draws", 100, *FAST, "-o", tmp_path / "e", "--ties", 0.5)
    result = run("evaluate", *words)
    assert result.exit_code == 0, result.output
    assert "judges: two judges agree on 80.0 %" in result.stdout
    assert "12 ties, each of weight 0.5 in training" in result.stdout
    folds = read_folds(tmp_path / "e")
    assert folds is not None
    assert folds.agreement is not None
    files = (tmp_path / "e" / "runs").glob("*.json")
    settings = [json.loads(file.read_text())["settings"] for file in files]
    # Of two folds, one may hold a video of every tie.
    assert {each["ties"][0] for each in settings if "ties" in each} == {0.5}
    again = run("evaluate", *words[:-2], "--ties", 0.25)
    assert again.exit_code == 2
    assert "ties" in again.stderr

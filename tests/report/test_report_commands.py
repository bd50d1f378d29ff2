"""train-ranker and evaluate as they record what a report needs, and write one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from pipeline.cli import cli
from pipeline.runs.record import read_folds, read_run_record
from tests.helpers.report_html import Page

VIDEOS = [f"v{number}.mp4" for number in range(8)]
FLAGS = ("--segments", "2", "--hidden-size", "4", "--attention-size", "3", "--epochs", "4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight caches whose first channel tells skill, and all their pairs."""
    folder = tmp_path_factory.mktemp("commands")
    rng = np.random.default_rng(0)
    for number, key in enumerate(VIDEOS):
        path = cache_path(folder / "features", key)
        header = Header("features", source_digest=key, decoded_frames=20, weights={"rgb": "r"})
        frames = np.arange(4) * 5
        with create_features(path, header, frames, frames / 25, (3, 2, 2)) as out:
            for row in range(4):
                maps = rng.normal(size=(3, 2, 2))
                maps[0] += number
                out.put(row, maps)
    names = [Path(key).stem for key in VIDEOS]
    pairs = [(names[a], names[b]) for a in range(8) for b in range(a)]
    listed = {
        "pairs.csv": pairs,
        "train.csv": [pair for pair in pairs if "v3" not in pair],
        "test.csv": [pair for pair in pairs if "v3" in pair],
    }
    for name, some in listed.items():
        text = "better,worse\n" + "".join(f"{a},{b}\n" for a, b in some)
        (folder / name).write_text(text)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


def train(place: Path, output: Path, *more: object) -> Result:
    return run(
        "train-ranker", "--features", place / "features", "--pairs", place / "train.csv",
        "--test-pairs", place / "test.csv", "-o", output, *FLAGS, *more,
    )  # fmt: skip


def evaluate(place: Path, output: Path, *more: object) -> Result:
    return run(
        "evaluate", "--features", place / "features", "--pairs", place / "pairs.csv",
        "--folds", "2", "--seeds", "1", "-j", "1", "-o", output, *FLAGS, *more,
    )  # fmt: skip


def test_a_run_records_its_pairs_and_time(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if pairs are recorded as something else than what they were used for."""
    monkeypatch.setattr(
        "pipeline.runs.choice.FEWEST_TO_DIVIDE", 10
    )  # Sets as small are fitted whole.
    assert train(place, tmp_path / "run", "--protocol", "validation").exit_code == 0
    record = read_run_record(tmp_path / "run")
    assert record is not None
    assert record.features == (place / "features").resolve()
    assert len(record.test) == 7
    assert all("v3.mp4" in (pair.better, pair.worse) for pair in record.test)
    # The rest of the 21 pairs pair a validation video with one that is trained on.
    assert record.train
    assert record.validation
    assert len(record.train) + len(record.validation) <= 21
    assert not any("v3.mp4" in (pair.better, pair.worse) for pair in record.train)
    assert record.seconds > 0


def test_a_resumed_run_adds_up_its_time(place: Path, tmp_path: Path) -> None:
    """Fails if the time of the first epochs is forgotten when training goes on."""
    assert train(place, tmp_path / "run").exit_code == 0
    first = json.loads((tmp_path / "run" / "record.json").read_text())["seconds"]
    assert train(place, tmp_path / "run", "--resume").exit_code == 0
    assert json.loads((tmp_path / "run" / "record.json").read_text())["seconds"] > first


def test_train_ranker_writes_the_page(place: Path, tmp_path: Path) -> None:
    """Fails if the page of --report lacks the run's own pairs, or another page is replaced."""
    page = tmp_path / "report.html"
    result = train(place, tmp_path / "run", "--report", page)
    assert result.exit_code == 0, result.output
    assert str(page) in result.stdout
    text = Page(page.read_text()).text
    assert "of 7 test pairs" in text
    assert "pairs are not recorded" not in text
    again = train(place, tmp_path / "other", "--report", page)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert not (tmp_path / "other").exists()


def test_an_evaluation_records_its_folds_and_writes_the_page(place: Path, tmp_path: Path) -> None:
    """Fails if the page needs the judgements again to tell the values of single folds."""
    assert train(place, tmp_path / "run").exit_code == 0
    page = tmp_path / "report.html"
    result = evaluate(place, tmp_path / "results", "--run", tmp_path / "run", "--report", page)
    assert result.exit_code == 0, result.output
    assert str(page) in result.stdout
    folds = read_folds(tmp_path / "results")
    assert folds is not None
    assert len(folds.splits) == 2
    assert folds.splits[0].held_out | folds.splits[1].held_out == set(VIDEOS)
    text = Page(page.read_text()).text
    assert "Each fold, per cent" in text
    assert "cross-validated over 2 folds" in text
    again = ("--run", tmp_path / "run", "--report")
    assert evaluate(place, tmp_path / "results", *again, page).exit_code == 0
    (tmp_path / "mine.html").write_text("mine")
    refused = evaluate(place, tmp_path / "results", *again, tmp_path / "mine.html")
    assert refused.exit_code == 2
    assert (tmp_path / "mine.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--report", "r.html"), "--run"),
        (("--report", "r.html", "--run", "nowhere"), "no such checkpoint"),
        (("--run", "nowhere"), "--report"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_training(
    place: Path, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    """Fails if hours of evaluation end in an error that was known before."""
    result = evaluate(place, tmp_path / "results", *more)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "results").exists()

"""The page about a run tells apart pairs that it was trained on, tested on, or knows nothing of."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from data.errors import InputError
from data.judgements.pairs import Pair
from model.ranker.options import TrainOptions
from pipeline.report.command import write_report
from pipeline.report.content import ReportSettings
from tests.helpers.report_html import Page
from tests.helpers.training import train_ranker
from tests.report.material import NAMES, RANKER, TRAIN


def test_training_accuracy_never_passes_for_more(place: Path, run: Path, full_text: str) -> None:
    """Fails if the headline is of pairs that the ranker was trained on, or does not say so."""
    lonely = place / "trained_only"
    train_ranker(
        place / "features",
        [Pair(NAMES[0], NAMES[5]), Pair(NAMES[5], NAMES[6])],
        lonely,
        ranker=RANKER,
        train=TRAIN,
    )
    text = Page(write_report(lonely, place / "out" / "o.html").read_text()).text
    summary = text[text.index("Summary Ranking Pair") : text.index("All 3 videos")]
    assert "No test pairs: how well it judges new videos is not known." in summary
    assert "%" not in summary.replace("50 %", "")
    assert "says nothing about other videos" in text
    assert "cross-validated over 3 folds" in Page(full_text).text


def test_a_run_without_test_pairs_shows_those_of_its_evaluation(
    place: Path, evaluation: Path
) -> None:
    """Fails if pairs that a ranker was trained on pass for the most wrong ones."""
    pairs = [Pair(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    own = place / "all_pairs"
    train_ranker(place / "features", pairs, own, ranker=RANKER, train=TRAIN)
    settings = ReportSettings(evaluation=evaluation)
    page = write_report(own, place / "out" / "crossed.html", settings)
    text = Page(page.read_text()).text
    assert "of 63 cross-validated test pairs are in the wrong order" in text
    assert ", fold " in text


def test_published_numbers_are_marked_as_such(place: Path, run: Path, evaluation: Path) -> None:
    """Fails if a number from the paper is missing, or could be taken for one measured here."""
    own = place / "published"
    shutil.copytree(evaluation, own)
    content = json.loads((own / "results.json").read_text())
    content["rows"][0]["published"] = 85.5
    (own / "results.json").write_text(json.dumps(content))
    text = Page(
        write_report(run, place / "out" / "p.html", ReportSettings(evaluation=own)).read_text()
    ).text
    assert "85.5 % published, Li, Huang, Cai, Sato" in text
    assert "others' numbers, not measured here" in text
    assert "the epoch was chosen on the test pairs" in text


def test_the_authors_protocol_is_called_what_it_is(place: Path) -> None:
    """Fails if accuracy on pairs that chose the epoch passes for a test."""
    own = place / "authors"
    train_ranker(
        place / "features",
        [Pair(NAMES[0], NAMES[5]), Pair(NAMES[5], NAMES[6])],
        own,
        test_pairs=[Pair(NAMES[0], NAMES[6]), Pair(NAMES[1], NAMES[6])],
        ranker=RANKER,
        train=TrainOptions(epochs=4, protocol="authors"),
    )
    text = Page(write_report(own, place / "out" / "a.html").read_text()).text
    assert "Authors' protocol: the epoch was chosen on the test pairs" in text
    assert "AUTHORS' PROTOCOL" in text
    assert "never used in training" not in text


def test_fold_values_are_those_of_the_table(place: Path, evaluation: Path, full_text: str) -> None:
    """Fails if the values of the folds are not those of the table."""
    rows = json.loads((evaluation / "results.json").read_text())["rows"]
    text = Page(full_text).text
    assert f"{100 * rows[0]['accuracy']['mean']:.1f}" in text
    assert "Each fold, per cent" in text


@pytest.mark.parametrize("folds", [None, "older"])
def test_folds_of_another_evaluation_are_refused(
    place: Path, run: Path, evaluation: Path, folds: str | None
) -> None:
    """Fails if folds that do not belong to the table pass for its own, or their absence hides."""
    own = place / f"folds_{folds}"
    shutil.copytree(evaluation, own)
    record = json.loads((own / "folds.json").read_text())
    (own / "folds.json").unlink()
    if folds:
        for fold in record["folds"]:
            fold["test"] = [pair[::-1] for pair in fold["test"]]
        (own / "folds.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="is not that of the table" if folds else "folds.json"):
        write_report(run, place / "out" / "never.html", ReportSettings(evaluation=own))


def test_recorded_pairs_are_shown_as_what_they_were(place: Path, run: Path) -> None:
    """Fails if validation or test pairs that the run recorded are lost, or count as training."""
    own = place / "recorded"
    shutil.copytree(run, own)
    pairs = {
        "train": [[NAMES[0], NAMES[1]]],
        "validation": [[NAMES[3], NAMES[4]]],
        "test": [[NAMES[2], NAMES[6]], [NAMES[5], NAMES[2]]],
    }
    checkpoint = hashlib.sha256((own / "checkpoint.safetensors").read_bytes()).hexdigest()
    record = {
        "format": 1,
        "checkpoint": checkpoint,
        "features": str(place / "features"),
        "seconds": 75.0,
        "versions": {},
    }
    (own / "record.json").write_text(json.dumps(record | {"pairs": pairs}))
    text = Page(write_report(own, place / "out" / "r.html").read_text()).text
    assert "validation pairs 1" in text
    assert "all test pairs, one video unseen 1" not in text
    assert "of 2 test pairs are in the wrong order" in text
    assert "chose the epoch" in text
    assert "1 min 15 s" in text
    (own / "record.json").write_text(json.dumps(record | {"pairs": pairs, "checkpoint": "older"}))
    text = Page(write_report(own, place / "out" / "older.html").read_text()).text
    assert "record.json is missing or of an earlier checkpoint" in text
    (own / "record.json").write_text(json.dumps(record | {"pairs": pairs | {"test": [["x", "y"]]}}))
    with pytest.raises(InputError, match=r"has not scored, e\.g\. x"):
        write_report(own, place / "out" / "never.html")
    (own / "record.json").write_text(json.dumps(record | {"pairs": [1]}))
    with pytest.raises(InputError, match="damaged"):
        write_report(own, place / "out" / "never.html")

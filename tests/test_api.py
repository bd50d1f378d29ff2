"""The functions for notebooks: the same results as the commands, and the same refusals."""

from __future__ import annotations

import csv
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import pipeline
from data.synthetic.options import SyntheticOptions
from data.synthetic.writer import generate
from pipeline import (
    InputError,
    api,
    cross_validate,
    describe,
    explain_videos,
    extract,
    learn_fusion,
    score_videos,
    train,
    write_report,
)
from pipeline.cli import cli

PLAN = {"segments": 3, "candidates": 1, "stack_length": 2}
SIZES = {"fusion_hidden": 8, "fusion_channels": 8}
TINY = {
    **PLAN,
    **SIZES,
    "short_side": 32,
    "engine": "opencv",
    "input_size": 64,
    "weights": "random",
}
RANKER = {"segments": 3, "hidden_size": 4, "attention_size": 4, "epochs": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small videos, one file that is none, pairs, and what `extract` made of them."""
    folder = tmp_path_factory.mktemp("api")
    generate(folder, 6, 0, SyntheticOptions(picture_size=48, shortest=24, longest=30))
    (folder / "videos" / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def extracted(place: Path) -> api.Extracted:
    return extract(place / "videos", place, jobs=1, device="cpu", keep_streams=True, **TINY)


def test_names_do_not_collide_with_modules() -> None:
    """`from pipeline import score` would give a module once that module has been imported."""
    modules = {each.name for each in pkgutil.iter_modules(pipeline.__path__)}
    assert not modules & set(pipeline.__all__)
    assert all(hasattr(pipeline, name) for name in pipeline.__all__)
    assert set(pipeline.__all__) <= set(dir(pipeline))
    with pytest.raises(AttributeError, match="nonsense"):
        pipeline.nonsense  # noqa: B018


def test_import_is_instant() -> None:
    """A notebook cell, or the command line, that waits for torch to load a name it never uses."""
    code = (
        "import pipeline, sys; assert 'pipeline.api' not in sys.modules;"
        "from pipeline import *; assert callable(train);"
        "print([name for name in ('torch', 'cv2', 'h5py', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_extract_makes_both_caches_and_lists_what_failed(
    extracted: api.Extracted, place: Path
) -> None:
    """One bad video must neither stop the others nor disappear."""
    assert extracted.features == place / "features"
    assert len(extracted.videos) == len(list(extracted.features.glob("*.h5"))) == 6
    assert list(extracted.failures) == ["broken.mp4"]
    kept = {p: p.stat().st_mtime_ns for p in place.rglob("*.h5")}
    again = extract(str(place / "videos"), place, jobs=1, keep_streams=True, **TINY)
    assert again == extracted
    assert kept == {p: p.stat().st_mtime_ns for p in place.rglob("*.h5")}
    with pytest.raises(InputError, match=r"(?s)bound"):
        extract([place / "videos"], place, jobs=1, bound=9, **TINY)
    with pytest.raises(InputError, match=r"none of 1 videos could be used.*broken"):
        extract([place / "videos" / "broken.mp4"], place / "none", jobs=1, **TINY)


def test_train_is_the_command(extracted: api.Extracted, place: Path) -> None:
    """Another default or a lost option would train another ranker than the command does."""
    run = train(extracted.features, place / "pairs.csv", place / "run", seed=3, **RANKER)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in RANKER.items()]
    folder = place / "by_command"
    names = ["--features", extracted.features, "--pairs", place / "pairs.csv", "-o", folder]
    done = CliRunner().invoke(cli, ["train-ranker", *map(str, names), "--seed=3", *flags])
    assert done.exit_code == 0, done.output
    for name in ("checkpoint.safetensors", "scores.csv", "metrics.json"):
        assert (run.run / name).read_bytes() == (folder / name).read_bytes()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert run.accuracy == metrics["accuracy"]
    assert [row["rank"] for row in run.ranking] == sorted(row["rank"] for row in run.ranking)
    assert {row["video"] for row in run.ranking} == set(extracted.videos)
    assert run.ranking[0]["score"] == max(row["score"] for row in run.ranking)
    with pytest.raises(InputError, match="overwrite"):
        train(extracted.features, place / "pairs.csv", place / "run", **RANKER)


def test_presets_give_way_to_given_options(
    extracted: api.Extracted, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preset that overrode what the caller asked for, or was ignored."""
    seen: dict[str, Any] = {}

    def plan(settings: Any, judgements: Any) -> None:
        seen["train"] = settings.train
        raise InputError("far enough")

    monkeypatch.setattr("pipeline.train_ranker.plan.plan_training", plan)
    with pytest.raises(InputError, match="far enough"):
        train(extracted.features, place / "pairs.csv", place / "x", preset="surgery", epochs=7)
    assert (seen["train"].optimizer, seen["train"].epochs) == ("sgd", 7)


def test_cross_validate_gives_the_table(extracted: api.Extracted, place: Path) -> None:
    """Rows, text and Markdown must be those that the command writes."""
    table = cross_validate(
        extracted.features, place / "pairs.csv", place / "evaluation",
        variant=["full", "no_att"], folds=2, seeds=1, draws=100, jobs=1, **RANKER,
    )  # fmt: skip
    assert {"full", "no_att"} <= {row["method"] for row in table.rows}
    assert str(table).strip() == (place / "evaluation" / "table.txt").read_text().strip()
    assert (
        table._repr_markdown_().strip() == (place / "evaluation" / "table.md").read_text().strip()
    )
    assert not table.failures


def test_learn_fusion_makes_a_checkpoint_that_extract_takes(
    extracted: api.Extracted, place: Path
) -> None:
    """The round from stream maps to a learnt fusion and back must close from Python alone."""
    fusion = learn_fusion(
        extracted.features, place / "pairs.csv", place / "fusion.safetensors", **RANKER
    )
    assert re.search(r"epoch [1-4] of 4", fusion.summary)
    learnt = extract(place / "videos", place / "learnt", fusion=fusion.path, jobs=1, **TINY)
    assert learnt.videos == extracted.videos


def test_score_explain_and_report_are_the_commands(
    extracted: api.Extracted, place: Path, tmp_path: Path
) -> None:
    """A new video's score, sheet and page must come out of Python as from the command line."""
    run = train(extracted.features, place / "pairs.csv", tmp_path / "run", **RANKER).run
    where = {"features": extracted.features, "flow": extracted.flow, "cache": tmp_path / "cache"}
    videos = [place / "videos" / "video_000.mp4", place / "videos" / "broken.mp4"]
    scored = score_videos(run, videos, jobs=1, device="cpu", **where)
    flags = [f"--{name}={path}" for name, path in where.items()]
    arguments = ["score", run, *videos, *flags, "-j1", "--csv", tmp_path / "scores.csv"]
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    assert done.exit_code == 1
    assert scored.text == done.stdout
    with (tmp_path / "scores.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert scored.rows[0]["score"] == float(row["score"])
    assert list(scored.failures) == ["broken.mp4"]
    kept = score_videos(run, videos, jobs=1, device="cpu", output=tmp_path / "kept", **where)
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"scores.csv", "scores.json"}
    assert kept.rows == scored.rows
    drawn = explain_videos(run, videos[0], tmp_path / "looks", jobs=1, device="cpu", **where)
    assert drawn.sheets["video_000.mp4"].read_bytes()[:4] == b"\x89PNG"
    assert drawn.films["video_000.mp4"].read_bytes()[4:8] == b"ftyp"
    page = write_report(run, tmp_path / "report.html", videos=place / "videos", jobs=1)
    assert "video_000.mp4" in page.read_text(encoding="utf-8")
    assert describe(run)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: train("f", "p", "o", epoch=3), r"train\(\) has no option 'epoch'.*'epochs'"),
        (lambda: train("f", "p", "o", dry_run=True), "no option 'dry_run'"),
        (lambda: extract("v", "o", batchsize=3), "'batch_size'"),
        (lambda: extract("v", "o", save_flow="f"), "no option 'save_flow'"),
        (lambda: extract("v", "o", dry_run=True), "no option 'dry_run'"),
    ],
)
def test_unknown_options_are_refused_with_the_nearest_name(call: Any, said: str) -> None:
    """A misspelt option that was passed over would give results of other options."""
    with pytest.raises(TypeError, match=said):
        call()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 2.5}, "epochs.*2.5"),
        ({"epochs": 0}, "epochs"),
        ({"variant": "fulll"}, "fulll"),
        ({"overwrite": 1}, "overwrite: expected True or False"),
        ({"margin": None}, "margin: expected a value"),
        ({"validation_share": 2}, "validation_share"),
    ],
)
def test_values_are_checked_as_the_command_checks_them(
    options: dict[str, Any], said: str, extracted: api.Extracted, place: Path
) -> None:
    """An unusable value must be one line that names it, before anything is written."""
    with pytest.raises(InputError, match=said) as caught:
        train(extracted.features, place / "pairs.csv", place / "refused", **options)
    assert "\n" not in str(caught.value)
    assert not (place / "refused").exists()


def test_help_shows_every_option_with_its_default() -> None:
    """`help(train)` in a notebook is where options are looked up."""
    shown = inspect.signature(train).parameters
    assert shown["margin"].default == 0.5
    assert shown["overwrite"].default is False
    assert shown["test_pairs"].default is None
    assert "Size of both hidden states." in (inspect.getdoc(train) or "")
    assert "lambda_" in inspect.signature(extract).parameters

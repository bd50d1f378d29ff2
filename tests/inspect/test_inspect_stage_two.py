"""`pipeline inspect` on judgements, run folders, evaluations and weights."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import cli
from tests.helpers.inspected import run, write_features
from tests.helpers.places import FIXTURES, ROOT

SHARED = Path(os.environ.get("DEXTERANK_SHARED", ROOT.parent / "shared"))
NAMES = "abcdef"
CYCLIC = "better,worse\na,b\nb,c\nc,a\na,d\na,d\n"
LADDER = "better,worse\n" + "".join(
    f"{better},{worse}\n" for i, better in enumerate(NAMES) for worse in NAMES[i + 1 :]
)


def described(*arguments: object) -> list[dict]:
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with features of six videos, pairs.csv, and a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    for number, name in enumerate(NAMES):
        of_video = {"source": f"{name}.avi", "source_digest": f"{number}" * 64}
        write_features(folder / f"features/{name}.avi.h5", "u" * 64, **of_video)
    (folder / "pairs.csv").write_text(LADDER)
    sizes = ["--segments", "2", "--hidden-size", "4", "--attention-size", "4", "--epochs", "2"]
    arguments = ["--features", folder / "features", "--pairs", folder / "pairs.csv", "--seed", 5]
    command = ["train-ranker", *map(str, arguments), "-o", str(folder / "run"), *sizes]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def run_copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def test_pairs_are_counted_with_their_faults(tmp_path: Path) -> None:
    """Cycles and repetitions bound what any ranker can reach; unseen, a good one looks bad."""
    path = tmp_path / "pairs.csv"
    path.write_text(CYCLIC)
    (report,) = described(path)
    assert report["videos"] == ["a", "b", "c", "d"]
    assert report["pairs"] == {"listed": 5, "distinct": 4}
    assert report["duplicates"] == [["a", "d", 2]]
    assert [sorted(group) for group in report["cycles"]] == [["a", "b", "c"]]
    assert report["attainable"]["bound"] == pytest.approx(4 / 5)
    assert len(report["folds"]) == 4
    for fold in report["folds"]:
        assert fold["train_pairs"] + fold["test_pairs"] == 5
    text = run(path).stdout
    assert "attainable pair accuracy: at most 80.00 %" in text
    assert "a > b > c > a" in text
    assert "folds (4 drawn by video):" in text


def test_flags_of_data_sets_are_obeyed(tmp_path: Path) -> None:
    """A number of folds that is ignored shows other folds than evaluate will use."""
    path = tmp_path / "scores.csv"
    path.write_text("video,score\na,1\nb,2\nc,2.5\nd,9\ne,11\nf,15\n")
    (report,) = described(path, "--folds", 2, "--score-gap", 0.75)
    assert len(report["folds"]) == 2
    assert report["pairs"]["distinct"] == 14  # all but b and c
    assert report["scored"] is True
    (report,) = described(path, "--folds", 7, "--score-gap", 0.75)  # more than videos
    assert report["folds"] == []
    assert report["pairs"]["distinct"] == 14


def test_too_few_videos_for_folds_are_still_described(tmp_path: Path) -> None:
    """Pairs must be described even if no folds can be drawn."""
    path = tmp_path / "pairs.csv"
    path.write_text("better,worse\na,b\nb,a\n")
    result = run(path)
    assert result.exit_code == 0
    assert "1 pair judged both ways" in result.stdout
    assert "attainable pair accuracy: at most 50.00 %" in result.stdout
    assert "cannot make 4 folds" in result.stdout


def test_names_are_compared_with_the_features(trained: Path, tmp_path: Path) -> None:
    """A misspelt name would only be noticed when training is to start."""
    path = tmp_path / "pairs.csv"
    path.write_text("better,worse\na,b\nb,misspelt\nc,d\nd,e\n")
    result = run(path, "--features", trained / "features")
    assert result.exit_code == 0
    assert "5 of 6 judged videos found" in result.stdout
    assert "1 there not judged, e.g. f.avi" in result.stdout
    assert "e.g. misspelt" in result.stdout
    (report,) = described(path, "--features", trained / "features")
    assert report["unknown_in_features"] == ["misspelt"]
    assert run(path, "--features", tmp_path / "none").exit_code == 2


@pytest.mark.skipif(not (SHARED / "datasets").is_dir(), reason="published files are not available")
def test_published_data_sets_are_recognised_with_all_their_tasks() -> None:
    """Without --task, people look for an overview of all tasks."""
    reports = described(SHARED / "datasets/EPIC-Skills2018")
    listed = {each["name"]: each["pairs"]["listed"] for each in reports}
    assert listed["EPIC-Skills 2018, chopstick using"] == 536
    assert listed["EPIC-Skills 2018, surgery"] == 596 + 362 + 701
    assert len(reports) == 9
    (one,) = described(SHARED / "datasets/EPIC-Skills2018", "--task", "dough-rolling")
    assert [fold["train_pairs"] for fold in one["folds"]] == [106, 96, 97, 100]
    assert len(one["judged_parts"]) == 33
    assert len(described(SHARED / "datasets/RAAN/data/BEST")) == 5


def test_a_run_says_what_was_trained_and_how_well(trained: Path) -> None:
    """A run whose variant, seed or protocol cannot be seen cannot be compared."""
    (report,) = described(trained / "run")
    assert report["kind"] == "run folder"
    assert report["variant"] == "full"
    assert report["seed"] == 5
    assert report["map_shape"] == [4, 2, 2]
    assert report["ranker"]["hidden_size"] == 4
    assert report["train"]["epochs"] == 2
    assert report["weights"] == {"rgb": "a" * 64, "flow": "b" * 64, "fusion": "c" * 64}
    assert report["training_videos"] == [f"{name}.avi" for name in NAMES]
    metrics = json.loads((trained / "run/metrics.json").read_text())
    assert report["accuracy"] == metrics["accuracy"]
    assert report["best_epoch"] == metrics["best_epoch"]
    text = run(trained / "run").stdout
    assert "6 in training, 6 scored; best " in text
    assert f"{100 * metrics['accuracy']['train']:.1f} %" in text


def test_a_checkpoint_is_known_by_its_own_path(trained: Path) -> None:
    """Checkpoints are copied out of their folders."""
    (report,) = described(trained / "run/checkpoint.safetensors")
    assert report["kind"] == "checkpoint of a ranker"
    assert report["variant"] == "full"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("checkpoint.safetensors", "not a readable safetensors file"),
        ("metrics.json", "metrics.json is damaged"),
    ],
)
def test_a_damaged_run_is_one_problem(name: str, message: str, run_copy: Path) -> None:
    """Half a run must not pass for a whole one."""
    content = (run_copy / name).read_bytes()
    (run_copy / name).write_bytes(content[: len(content) // 2])
    result = run(run_copy)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "unexpected" not in result.output


def test_an_unfinished_run_is_reported(run_copy: Path) -> None:
    """The user would wait for scores that will never come."""
    (run_copy / "checkpoint.safetensors").unlink()
    (run_copy / "state.pt").write_bytes(b"state")
    result = run(run_copy)
    assert result.exit_code == 1
    assert "train-ranker --resume" in result.stdout


def test_a_folder_of_everything_names_its_runs(trained: Path) -> None:
    """The overview of a project is where people look for their runs."""
    result = run(trained)
    assert result.exit_code == 0
    assert "run: variant full, epoch " in result.stdout
    assert "6 feature caches in features/" in result.stdout
    assert "pairs.csv: 15 pairs of 6 videos" in result.stdout
    assert "scores.csv" not in result.stdout  # the run's own


def test_evaluations_show_their_table(tmp_path: Path) -> None:
    """Finished and unfinished evaluations must be distinguished."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/full-fold1-seed0.json").write_text("{}")
    unfinished = run(tmp_path)
    assert unfinished.exit_code == 0
    assert "1 run done but no table yet" in unfinished.stdout
    row = {"method": "full", "accuracy": {"mean": 0.8447, "error": 0.0223}}
    results = {"title": "pairs: 48 videos", "protocol": "last epoch", "rows": [row]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    finished = run(tmp_path)
    assert finished.exit_code == 0
    assert "full: 84.5 % ± 2.2" in finished.stdout
    assert "last epoch" in finished.stdout


def test_foreign_weights_are_listed_without_running_anything(tmp_path: Path) -> None:
    """Any .safetensors file can be looked into; none is unpickled."""
    import torch
    from safetensors.torch import save_file

    save_file({"layer.weight": torch.zeros(3, 2)}, tmp_path / "theirs.safetensors")
    (report,) = described(tmp_path / "theirs.safetensors")
    assert report["kind"] == "weights"
    assert report["tensors"] == {"layer.weight": [3, 2]}


def test_a_folder_of_several_data_sets_is_described_one_by_one() -> None:
    """RAAN's repository holds two data sets: it would be called unknown, or one be missed."""
    here = FIXTURES / "annotations" / "RAAN"
    each = [described(here / name) for name in ("EPIC-Skills", "BEST")]
    names = [report["name"] for reports in each for report in reports]
    assert len(names) > 2
    assert sorted(report["name"] for report in described(here)) == sorted(names)


def test_boxes_are_distinguished_from_a_list_of_videos(tmp_path: Path) -> None:
    """The demo's own boxes would be called a damaged list of videos."""
    path = tmp_path / "boxes.csv"
    path.write_text("video,frame,x0,y0,x1,y1\na.mp4,0,0,0,.5,.5\na.mp4,1,0,0,.5,.5\n")
    (report,) = described(path)
    assert (report["kind"], report["boxes"], report["videos"]) == ("boxes", 2, ["a.mp4"])

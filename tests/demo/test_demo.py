"""The demonstration, driven as a user drives it, at the smallest sizes that go through."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data.synthetic.balance import rank_correlation
from data.synthetic.plan import plan_set
from pipeline.cli import cli
from pipeline.demo.options import DemoOptions
from pipeline.demo.summary import show_plan
from pipeline.runs.folder import load_run
from tests.helpers.report_html import Page

TINY = (
    *("--videos", "8", "--picture-size", "64", "--flow-side", "32", "--segments", "3"),
    *("--stack-length", "2", "--input-size", "128", "--epochs", "3", "--trainings", "1"),
    *("--folds", "2", "-j", "1", "--device", "cpu"),
)


def run(output: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["demo", "-o", str(output), *TINY, *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, run(folder)


@pytest.mark.slow
def test_demo_ends_with_a_summary_on_stdout(finished: tuple[Path, Result]) -> None:
    """The README's first command: its last lines must hold results, times and places."""
    folder, result = finished
    assert result.exit_code == 0, result.stderr
    for phrase in (
        "full",
        "memory (baseline)",
        "pooled (baseline)",
        "pooled + duration (baseline)",
        "full does not clearly beat, on pairs of two unseen videos",
        "length (baseline)",
        "mean flow (baseline)",
        "brightness (baseline)",
        "chance (baseline)",
        "attention of full",
        "Pairs of two unseen videos",
        "knowing the place of the other one is enough",
        "trunks are random",
        "extract-flow",
        "extract-features",
        "train-ranker",
        "in all",
    ):
        assert phrase in result.stdout
    assert "RANDOM TRUNKS" in result.stderr
    assert "RANDOM TRUNKS" not in result.stdout
    named = [line.split(": ")[0] for line in result.stdout.splitlines() if str(folder) in line]
    assert len(named) == 5
    assert named[-1].endswith("report.html")
    assert all(Path(name).exists() for name in named)


@pytest.mark.slow
def test_demo_leaves_what_the_commands_leave(finished: tuple[Path, Result]) -> None:
    """A demo with code of its own would prove nothing about the commands."""
    folder, _ = finished
    made = json.loads((folder / "synthetic" / "set.json").read_text())
    # The lesson, order, is gone without the first.
    assert (made["settling"], made["tremor_gain"], made["shake"]) == (0.5, 0.036, 0.006)
    for stage in ("flow", "features"):
        assert len(list((folder / stage).glob("*.mp4.h5"))) == 8
    for name in ("checkpoint.safetensors", "metrics.json", "learning_curves.png", "scores.csv"):
        assert (folder / "run" / name).stat().st_size > 0
    with open(folder / "run" / "scores.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 8
    trained = load_run(folder / "run")
    sheets = {path.name.removesuffix(".attention.png") for path in folder.glob("explained/*")}
    assert len(sheets) == 2
    assert sheets.isdisjoint(trained.training_videos)
    scores = dict(zip(trained.keys, trained.scores, strict=True))
    unseen = scores.keys() - trained.training_videos
    assert sheets == {max(unseen, key=scores.__getitem__), min(unseen, key=scores.__getitem__)}


@pytest.mark.slow
def test_demo_ends_with_a_report_of_its_own_numbers(finished: tuple[Path, Result]) -> None:
    """Fails if the page shows other folds or pairs than the demo's, or hides its limits."""
    folder, result = finished
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.faults == []
    assert "trunks have random weights" in page.text
    assert "Each fold, per cent" in page.text
    assert "cross-validated over 2 folds" in page.text
    reached = re.search(r"two unseen videos: ([\d.]+)", result.stdout)
    assert reached is not None
    assert page.text.index(reached[1]) < page.text.index("Ranking All 8 videos")
    assert not page.text.count("Missing from this page")
    assert len({image["alt"] for image in page.all("img") if "Middle" in image["alt"]}) == 8


@pytest.mark.slow
def test_demo_again_gives_the_same_numbers_from_what_is_there(
    finished: tuple[Path, Result],
) -> None:
    """Same seed, same numbers; and a second run must reuse caches, not compute them again."""
    folder, first = finished
    kept = {p: p.stat().st_mtime_ns for p in folder.rglob("*.h5")}
    kept |= {p: p.stat().st_mtime_ns for p in folder.rglob("*.mp4")}
    assert len(kept) == 3 * 8
    second = run(folder)
    assert second.exit_code == 0
    times = first.stdout.index("generate videos")
    assert second.stdout[:times] == first.stdout[:times]
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


@pytest.mark.slow
def test_demo_with_another_seed_asks_for_another_folder(finished: tuple[Path, Result]) -> None:
    """Results of two seeds mixed in one folder would be neither's."""
    folder, _ = finished
    result = run(folder, "--seed", "1")
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 2
    assert "seed 0 (you asked 1)" in result.stderr
    assert "--overwrite" in result.stderr


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    """A dry run that leaves files behind would be taken for a begun run."""
    result = run(tmp_path / "out", "--dry-run")
    assert result.exit_code == 0
    assert "nothing was written" in result.stdout
    assert "8 of 64x64 px" in result.stdout
    assert not (tmp_path / "out").exists()


def test_missing_weights_are_found_before_videos_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo would end in an error after minutes of videos and flow."""
    from torch import hub

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(hub, "download_url_to_file", no_network)
    result = run(tmp_path / "out", "--weights", "imagenet")
    assert result.exit_code == 2
    assert "ImageNet weights cannot be downloaded" in result.stderr
    assert not (tmp_path / "out").exists()
    dry = run(tmp_path / "out", "--weights", "imagenet", "--dry-run")
    assert dry.exit_code == 0
    assert "no ImageNet weights here, they would be downloaded first" in dry.stderr


def test_a_page_of_somebodys_own_is_not_replaced(tmp_path: Path) -> None:
    """After minutes of work the demo would write its report over it."""
    (tmp_path / "report.html").write_text("mine")
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_plan_counts_what_would_be_computed(tmp_path: Path) -> None:
    """8 videos x 3 segments x 2 fields, no window overlapping another in 100 frames or more."""
    options = DemoOptions(videos=8, picture_size=64, segments=3, stack_length=2)
    lines = "\n".join(show_plan(tmp_path, options))
    assert "48 fields" in lines
    assert "24 snippets" in lines


@pytest.mark.parametrize("seed", range(3))
def test_no_single_number_gives_the_demos_skills_away(seed: int) -> None:
    """The demo would teach that its ranker looks at the hand, where length or light were enough."""
    options = DemoOptions()
    videos = plan_set(options.videos, seed, options.synthetic(), options.effects())
    skill = np.array([video.skill for video in videos])
    for cue in ("frames", "brightness", "flow"):
        other = np.array([float(getattr(video, cue)) for video in videos])
        assert abs(rank_correlation(skill, other)) < 0.1, cue


@pytest.mark.parametrize(
    ("flags", "said"),
    [(("--seed", "-1"), "0<=x<"), (("--shard", "1/2"), "No such option"), (("--videos", "2"), "8")],
)
def test_unusable_flags_end_in_one_line(tmp_path: Path, flags: tuple[str, str], said: str) -> None:
    """Bad values must be refused before anything is generated."""
    result = run(tmp_path / "out", *flags)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()

"""Baselines of every evaluation, tasks of merged sets, and training accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.judgements.options import DatasetOptions
from data.judgements.pairs import Pair
from data.judgements.reading import read_dataset
from data.judgements.splits import k_fold_by_video, split_by_videos
from pipeline.cli import cli
from pipeline.evaluate.fitted import directed, memory, pooled
from pipeline.evaluate.margins import measure_margins, sentences
from pipeline.evaluate.rows import baseline_row, of_task
from pipeline.evaluate.statistics import accuracies, margins
from pipeline.runs.training_accuracy import training_accuracy, undertrained
from tests.evaluate.material import FAST, VIDEOS, run, table_rows
from tests.helpers.places import FIXTURES, ROOT

PUBLISHED = ROOT.parent / "shared" / "datasets" / "EPIC-Skills2018"
NAMES = [f"v{n:02}" for n in range(12)]
PAIRS = [Pair(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]


def test_memory_is_the_win_rate_and_guesses_between_unseen_videos() -> None:
    """A memory that knew anything of test videos would be no floor; 50 % must be exact."""
    splits = k_fold_by_video(PAIRS, 3, 0)
    scored = memory(splits, NAMES)
    row = baseline_row("memory", splits, scored, None)
    assert (row.both_unseen.mean, row.both_unseen.error) == (0.5, 0.0)
    assert row.one_unseen.mean > 0.7  # of a chain of videos it knows one end
    split = split_by_videos(PAIRS, NAMES[9:], "1")
    first, second = memory([split], NAMES)[0]
    assert first["v00"] == second["v00"] == 1.0
    assert first["v08"] == 0.0
    for guess in (first, second):  # all unseen videos in the middle
        assert guess["v11"] == pytest.approx(0.5, abs=1e-8)
    assert (first["v10"] < first["v11"]) != (second["v10"] < second["v11"])


def test_fitted_baselines_see_no_test_pair() -> None:
    """Test pairs turned round must not change a score, or the baseline has used them."""
    rng = np.random.default_rng(0)
    features, lengths = rng.normal(size=(12, 6)), dict(zip(NAMES, range(1, 13), strict=True))
    split = split_by_videos(PAIRS, NAMES[8:], "1")
    turned = type(split)(split.train, [Pair(p.worse, p.better) for p in split.test], "1")
    for fit in (
        lambda s: memory([s], NAMES),
        lambda s: pooled([s], NAMES, features, lengths, None),
        lambda s: directed(lengths, [s]),
    ):
        assert fit(split) == fit(turned)


def test_pooled_finds_a_planted_channel_and_duration_where_it_counts() -> None:
    """The linear ranker must be a judge of new videos, and length one of its cues."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 6))
    splits = k_fold_by_video(PAIRS, 3, 0)
    lengths = {name: 2.0 ** (12 - n) for n, name in enumerate(NAMES)}
    blind = accuracies(splits, pooled(splits, NAMES, features, None, None)).mean()
    timed = accuracies(splits, pooled(splits, NAMES, features, lengths, None)).mean()
    assert timed > max(0.9, blind)
    features[:, 2] = -np.arange(12)
    assert accuracies(splits, pooled(splits, NAMES, features, None, None)).mean() > 0.9


def test_margins_are_of_the_same_pairs_and_say_what_is_not_beaten() -> None:
    """A sentence that names another winner than the numbers would mislead every reader."""
    splits = k_fold_by_video(PAIRS, 3, 0)
    right = {name: -float(n) for n, name in enumerate(NAMES)}
    noise = dict(zip(NAMES, np.random.default_rng(0).normal(size=12).tolist(), strict=True))
    ranker = [[right, noise] for _ in splits]
    others = {"truth": [[right]] * 3, "noise": [[noise]] * 3}
    whole = measure_margins(splits, {"full": ranker}, others, None, 200)
    assert [(each.pairs, each.baseline) for each in whole] == [
        ("both_unseen", "truth"), ("both_unseen", "noise"),
        ("accuracy", "truth"), ("accuracy", "noise"),
    ]  # fmt: skip
    means = accuracies(splits, ranker).mean() - accuracies(splits, others["truth"]).mean()
    assert whole[2].mean == pytest.approx(means)
    both, every = sentences(whole, "full")
    assert both.startswith("full does not clearly beat, on pairs of two unseen videos: truth -")
    assert every.startswith("full does not clearly beat, on all test pairs: truth -")
    best = measure_margins(splits, {"full": [[right]] * 3}, {"noise": [[noise]] * 3}, None, 200)
    assert (
        "beats every baseline on all test pairs; the closest: noise +"
        in [*sentences(best, "full")][1]
    )
    assert (
        margins([type(splits[0])(s.train, [], "") for s in splits], ranker, [ranker], None, 9) == []
    )


def test_every_evaluation_has_memory_and_pooled(finished: tuple[Path, Result]) -> None:
    """Without them nobody sees that a ranker is worth less than one line of statistics."""
    output, result = finished
    rows = table_rows(output)
    assert float(rows["memory (baseline)"]["both_unseen_mean"]) == 0.5
    assert float(rows["pooled (baseline)"]["accuracy_mean"]) > 0.8  # the planted mean
    assert "pooled + duration (baseline)" not in rows  # all videos are equally long
    content = json.loads((output / "results.json").read_text())
    said = [line for line in content["notes"] if line.startswith("full ")]
    assert len(said) == 2
    for line in said:
        assert line in result.output
        assert "pooled" in line
    assert "two unseen videos" in said[0]
    assert {each["baseline"] for each in content["baselines"]} == {"memory", "pooled"}
    assert all(len(each["scores"]) == VIDEOS for each in content["baselines"])
    assert len(content["margins"]) == 2 * 2 * 2  # variants, kinds of pairs, baselines


@pytest.fixture(scope="module")
def surgery(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Three tasks trained as one, of published folds in small."""
    place = tmp_path_factory.mktemp("surgery")
    rng = np.random.default_rng(0)
    for task in ("Suturing", "Knot_Tying", "Needle_Passing"):
        for trial in ("B001", "B002", "C001", "C002"):
            key = f"{task}/video/{task}_{trial}_capture2.avi"
            header = Header("features", source=key, source_digest=key, decoded_frames=20)
            path = cache_path(place / "features", key)
            with create_features(path, header, np.array([9]), np.array([0.3]), (4, 2, 2)) as out:
                out.put(0, rng.normal(size=(4, 2, 2)).astype(np.float32))
    result = run(
        "--features", place / "features", "--pairs", FIXTURES / "annotations" / "EPIC-Skills2018",
        "--task", "surgery", "--preset", "surgery", "--epochs", "1", "--segments", "4",
        "--protocol", "last", "--hidden-size", "8", "--seeds", "1", "-j", "1", "-o", place / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return place, result


def test_a_merged_set_has_rows_of_its_tasks(surgery: tuple[Path, Result]) -> None:
    """One good task could hide two bad ones; the rows must be of the same rankers."""
    place, _ = surgery
    rows = table_rows(place / "out")
    tasks = ("Knot Tying", "Needle Passing", "Suturing")
    assert [rows[f"full, {task}"]["task"] for task in tasks] == [*tasks]
    assert rows["full"]["task"] == ""
    assert all(f"memory (baseline), {task}" in rows for task in tasks)
    # In the small files every task has as many test pairs in a fold as the others.
    means = [float(rows[f"full, {task}"]["accuracy_mean"]) for task in tasks]
    assert np.mean(means) == pytest.approx(float(rows["full"]["accuracy_mean"]))
    content = json.loads((place / "out" / "folds.json").read_text())
    assert set(content["tasks"].values()) == {*tasks}


def test_the_page_shows_the_tasks_of_a_merged_set(surgery: tuple[Path, Result]) -> None:
    """The page must hold the rows of the table, each with its own pairs."""
    place, _ = surgery
    words = ["--features", place / "features", "--task", "surgery", "--epochs", "1", "--fold", "1"]
    pairs = FIXTURES / "annotations" / "EPIC-Skills2018"
    train = ["train-ranker", *words, "--pairs", pairs, "--segments", "4", "-o", place / "run"]
    page = ["report", place / "run", "--evaluation", place / "out", "-o", place / "page.html"]
    for command in (train, page):
        result = CliRunner().invoke(cli, [*map(str, command)])
        assert result.exit_code == 0, result.output
    text = (place / "page.html").read_text(encoding="utf-8")
    assert "full, Needle Passing" in text
    assert "memory (baseline), Suturing" in text
    head, _ = text.split("Each fold, per cent", 1)
    assert "full does not clearly beat, on all test pairs" in head  # not only among the notes


def test_pairs_of_a_task_are_all_pairs_together() -> None:
    """A pair that belongs to no task, or to two, would make the rows disagree with the whole."""
    epic = FIXTURES / "annotations"
    for place in (epic / "EPIC-Skills2018", epic / "RAAN" / "EPIC-Skills"):
        dataset = read_dataset(place, DatasetOptions(task="surgery"))
        for fold in dataset.folds:
            parts = [of_task(fold, task, dataset.tasks) for task in set(dataset.tasks.values())]
            assert sum(len(part.test) for part in parts) == len(fold.test)
            assert sorted(n for part in parts for n in part.unseen()) == sorted(fold.unseen())
        single = read_dataset(place, DatasetOptions(task="chopstick_using"))
        assert single.tasks == {}


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")
@pytest.mark.parametrize(
    ("task", "percent"),
    [("chopstick-using", 73.9), ("dough-rolling", 79.1), ("drawing", 76.9), ("surgery", 71.0)],
)
def test_memory_of_the_published_folds(task: str, percent: float) -> None:
    """These are the numbers that the data sets' page quotes."""
    dataset = read_dataset(PUBLISHED, DatasetOptions(task=task))
    scored = memory(dataset.folds, dataset.videos)
    row = baseline_row("memory", dataset.folds, scored, None)
    assert 100 * row.accuracy.mean == pytest.approx(percent, abs=0.05)  # one decimal is quoted
    assert row.both_unseen.mean == 0.5


def test_a_preset_that_hardly_trains_is_named(surgery: tuple[Path, Result]) -> None:
    """Users took 70 % on training pairs for the paper's method at work."""
    place, result = surgery
    line = "on frozen features --preset surgery ends before the ranker is trained"
    assert result.stderr.count(line) == 1
    assert line in (place / "out" / "table.txt").read_text()
    assert undertrained("surgery", 0.91) == ""
    assert undertrained("small", 0.6) == ""  # an early epoch, chosen on validation pairs


def test_training_accuracy_is_of_the_finished_ranker(finished: tuple[Path, Result]) -> None:
    """Three figures of one name cannot be compared: it is of fitted pairs and test scores."""
    output, result = finished
    assert (
        training_accuracy({"a": 1.0, "b": 1.0, "c": 0.0}, [Pair("a", "b"), Pair("a", "c")]) == 0.5
    )
    content = json.loads((output / "runs" / "full-fold1-seed0.json").read_text())
    assert content["training_accuracy"] > 0.9
    assert "train_accuracy" not in content
    mean = np.mean(
        [
            each["training_accuracy"]
            for each in json.loads((output / "results.json").read_text())["runs"]
            if each["variant"] == "full"
        ]
    )
    assert f"full {100 * mean:.1f}" in result.output


def test_runs_of_an_earlier_version_are_used_with_the_new_training_accuracy(
    finished: tuple[Path, Result], features: Path, pairs: Path, tmp_path: Path
) -> None:
    """Hours of training would be repeated, or two definitions averaged."""
    args = (
        "--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 1, "-o", tmp_path, *FAST,
    )  # fmt: skip
    assert run(*args).exit_code == 0
    before = (tmp_path / "table.txt").read_text()
    for path in (tmp_path / "runs").iterdir():
        content = json.loads(path.read_text())
        content["train_accuracy"] = 0.123 + 0 * content.pop("training_accuracy")
        path.write_text(json.dumps(content))
    again = run(*args)
    assert again.exit_code == 0, again.output
    assert "3 runs, 3 of them done already" in again.stderr
    assert (tmp_path / "table.txt").read_text() == before


def test_a_dry_run_says_counts_and_memory(features: Path, pairs: Path, tmp_path: Path) -> None:
    """Users size their jobs by it; a time that was not measured would mislead them."""
    args = ("--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 2, "-o", tmp_path)
    result = run(*args, *FAST, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "would train 6 of 6 runs, 15 epochs at most each" in result.stdout
    assert "memory: about 660.0 MB for each of 1 worker, maps included" in result.stdout
    half = run(*args, *FAST, "--dry-run", "--shard", "1/2")
    assert "would train 3 of 6 runs" in half.stdout
    assert not list(tmp_path.iterdir())

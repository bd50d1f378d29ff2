"""score as a user runs it: the numbers of training, for videos that training never saw."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.cache.features import open_features
from data.errors import InputError
from data.sources import Source, find_sources
from pipeline.runner.files import read_safetensors, write_safetensors
from pipeline.runs.folder import CHECKPOINT, load_run
from pipeline.score.command import score_videos, without_films
from pipeline.score.settings import NewVideoOptions
from pipeline.stage_one.file import FILE_NAME
from tests.helpers.scored_material import (
    TRAINING,
    World,
    done,
    frames_of,
    material,
    pipeline,
    train,
    write_video,
)

ONE = ("-j", 1, "--device", "cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return material(tmp_path_factory)


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["video"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_training_video_scores_as_in_training(world: World, tmp_path: Path) -> None:
    """From the same features the score must be the same to the last bit."""
    done(
        *("score", world.run, world.videos, "--features", world.features, "--flow", world.flow),
        *("-o", tmp_path, *ONE),
    )
    rows, trained = rows_of(tmp_path / "scores.csv"), rows_of(world.run / "scores.csv")
    assert {key: row["score"] for key, row in rows.items()} == {
        key: row["score"] for key, row in trained.items()
    }
    assert {key: row["rank"] for key, row in rows.items()} == {
        key: row["rank"] for key, row in trained.items()
    }
    assert all(row["note"].startswith("a training video") for row in rows.values())
    everything = json.loads((tmp_path / "scores.json").read_text())
    assert everything["training"] == {key: float(row["score"]) for key, row in trained.items()}


@pytest.mark.slow
def test_features_made_again_give_the_training_score(world: World, tmp_path: Path) -> None:
    """Flow, features and score from the video alone; a second call must use what the first made.

    The first video is new but has a training video's name: it must not get that one's features.
    """
    impostor = write_video(tmp_path / "new" / "a.mp4", frames_of("landscape.mp4"))
    renamed = shutil.copy(world.videos / "b.mp4", tmp_path / "new" / "other.mp4")
    arguments = ("score", world.run, impostor, renamed, "--cache", tmp_path / "cache", *ONE)
    done(*arguments, "--csv", tmp_path / "one.csv")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.h5")}
    assert len(before) == 4
    done(*arguments, "--csv", tmp_path / "two.csv")
    assert {p: p.stat().st_mtime_ns for p in before} == before
    rows = rows_of(tmp_path / "one.csv")
    assert rows == rows_of(tmp_path / "two.csv")
    trained = {key: float(row["score"]) for key, row in rows_of(world.run / "scores.csv").items()}
    spread = np.std(list(trained.values()))
    # Batches of other sizes round float32 sums otherwise; float16 caches then differ by a step
    # (2⁻¹¹) here and there.
    assert float(rows["other.mp4"]["score"]) == pytest.approx(trained["b.mp4"], abs=0.01 * spread)
    assert rows["other.mp4"]["of"] == "4"
    assert rows["a.mp4"]["of"] == "5"
    assert rows["a.mp4"]["note"] == ""
    assert float(rows["a.mp4"]["score"]) != trained["a.mp4"]


@pytest.mark.slow
def test_given_flow_is_not_computed_again(world: World, tmp_path: Path) -> None:
    """Flow takes the longest; a user who has it must be able to give it, and it must be right.

    When it is gone later, the features that were kept must be enough for a score.
    """
    copied = shutil.copy(world.videos / "b.mp4", tmp_path / "b.mp4")
    flow = shutil.copytree(world.flow, tmp_path / "flow")
    arguments = ("score", world.run, copied, "--cache", tmp_path / "cache", *ONE)
    done(*arguments, "--csv", tmp_path / "scores.csv", "--flow", flow)
    (cached,) = (tmp_path / "cache").rglob("*.h5")
    with open_features(cached) as cache, open_features(world.features / "b.mp4.h5") as trained:
        np.testing.assert_array_equal(cache.time[:], trained.time[:])
        assert cache.header.upstream == trained.header.upstream
    assert rows_of(tmp_path / "scores.csv")["b.mp4"]["note"].endswith("ranked among the others")
    shutil.rmtree(flow)
    done(*arguments, "--csv", tmp_path / "again.csv")
    assert rows_of(tmp_path / "again.csv") == rows_of(tmp_path / "scores.csv")
    assert list((tmp_path / "cache").rglob("*.h5")) == [cached]


@pytest.mark.slow
def test_caches_of_another_video_are_not_used(world: World, tmp_path: Path) -> None:
    """A new recording under an old name must not get the score, or the flow, of the old one."""
    (tmp_path / "new").mkdir()
    videos = [shutil.copy(world.videos / "b.mp4", tmp_path / "new" / "a.mp4")]
    videos.append(shutil.copy(world.videos / "c.mp4", tmp_path / "new" / "c.mp4"))
    result = done(
        *("score", world.run, *videos, "--cache", tmp_path / "cache", *ONE),
        *("--features", world.features, "--flow", world.flow, "--csv", tmp_path / "scores.csv"),
    )
    rows = rows_of(tmp_path / "scores.csv")
    trained = {key: float(row["score"]) for key, row in rows_of(world.run / "scores.csv").items()}
    spread = np.std(list(trained.values()))
    assert float(rows["a.mp4"]["score"]) == pytest.approx(trained["b.mp4"], abs=0.01 * spread)
    assert float(rows["c.mp4"]["score"]) == trained["c.mp4"]
    assert "a.mp4.h5: made with other video" in result.stderr
    assert "a.mp4.h5: made from another video" in result.stderr
    # The name is taken by other features from given flow: they are replaced, not confused.
    given = ("--cache", tmp_path / "cache", "--flow", tmp_path / "flow")
    for video in ("c.mp4", "d.mp4"):
        new = shutil.copy(world.videos / video, tmp_path / "new" / "x.mp4")
        (tmp_path / "flow").mkdir(exist_ok=True)
        shutil.copy(world.flow / f"{video}.h5", tmp_path / "flow" / "x.mp4.h5")
        done("score", world.run, new, *given, *ONE, "--csv", tmp_path / "x.csv")
        score = float(rows_of(tmp_path / "x.csv")["x.mp4"]["score"])
        assert score == pytest.approx(trained[video], abs=0.01 * spread)


@pytest.mark.slow
def test_nothing_is_kept_where_the_user_named_no_place(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of patients' videos must not gather in folders that nobody named."""
    new = shutil.copy(world.videos / "b.mp4", tmp_path / "new.mp4")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("temporary", "home"):
        (tmp_path / name).mkdir()
    done("score", world.run, new, "--csv", tmp_path / "scores.csv", *ONE)
    assert (tmp_path / "scores.csv").is_file()
    assert [*(tmp_path / "temporary").iterdir(), *(tmp_path / "home").iterdir()] == []


@pytest.mark.slow
def test_one_bad_video_does_not_stop_the_others(world: World, tmp_path: Path) -> None:
    """The others must be scored and written, the bad one listed, and the exit code must be 1."""
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    result = pipeline(
        *("score", world.run, tmp_path / "bad.mp4", world.videos / "a.mp4", "-o", tmp_path),
        *("--features", world.features, "--flow", world.flow, *ONE),
    )
    assert result.exit_code == 1
    assert "1 of 2 failed" in result.stderr
    assert set(rows_of(tmp_path / "scores.csv")) == {"a.mp4"}
    everything = json.loads((tmp_path / "scores.json").read_text())
    assert [each["video"] for each in everything["failures"]] == ["bad.mp4"]
    again = pipeline("score", world.run, tmp_path / "bad.mp4", "-o", tmp_path, *ONE)
    assert again.exit_code == 1
    assert rows_of(tmp_path / "scores.csv") == {}  # not those of the call before


@pytest.mark.slow
def test_an_ensemble_is_the_mean_of_standardised_scores(world: World, tmp_path: Path) -> None:
    """Scores of two runs have two scales: a plain mean would be the louder run's."""
    runs = [tmp_path / "runs" / name for name in ("one", "two")]
    for seed, folder in enumerate(runs):
        train(world, folder, "--seed", seed)
    options = NewVideoOptions(
        cache=tmp_path / "c", features=world.features, flow=world.flow, device="cpu"
    )
    sources = find_sources([world.videos])
    result = score_videos(tmp_path / "runs", sources, options, ensemble=True)
    named = score_videos(runs[0], sources, options, also=[runs[1]])
    standard = []
    for folder in runs:
        run = load_run(folder)
        scores = dict(zip(run.keys, run.scores, strict=True))
        values = np.array([scores[key] for key in TRAINING])
        standard.append((values - values.mean()) / values.std())
    expected, spread = np.mean(standard, axis=0), np.std(standard, axis=0, ddof=1)
    rows = [row for _, row in result.outcome.results]
    np.testing.assert_allclose([row.score for row in rows], expected, rtol=1e-9)
    np.testing.assert_allclose([row.spread for row in rows], spread, atol=1e-9)
    assert [row.score for _, row in named.outcome.results] == [row.score for row in rows]
    for place, row in enumerate(rows):
        own = [int((each > each[place]).sum()) + 1 for each in standard]
        assert row.ranks == (min(own), max(own))
        assert row.place.rank == int((expected > expected[place]).sum()) + 1
    alone = score_videos(runs[0], sources, options, ensemble=True).outcome.results[0][1]
    assert alone.spread is None  # A spread of one run would look like certainty.
    assert alone.score == load_run(runs[0]).scores[0]


@pytest.mark.slow
def test_an_evaluation_can_score_new_videos(world: World, tmp_path: Path) -> None:
    """Its kept rankers must be those whose scores it reports, and be found by --ensemble."""
    evaluate = (
        *("evaluate", "--features", world.features, "--pairs", world.root / "pairs.csv"),
        *("-o", tmp_path / "evaluation", "--folds", 2, "--seeds", 1, "--segments", 2),
        *("--epochs", 3, "--protocol", "last", *ONE),
    )
    done(*evaluate)
    results = {p: p.stat().st_mtime_ns for p in (tmp_path / "evaluation" / "runs").glob("*.json")}
    done(*evaluate, "--keep-rankers")  # Rankers that were not kept are trained again.
    assert all(path.stat().st_mtime_ns > before for path, before in results.items())
    assert len(results) == 2
    for path in results:
        run = load_run(path.with_suffix(""))
        scores = json.loads(path.read_text())["scores"]
        assert dict(zip(run.keys, run.scores, strict=True)) == scores
    done(
        *("score", tmp_path / "evaluation", world.videos, "--ensemble", "-o", tmp_path, *ONE),
        *("--features", world.features, "--flow", world.flow),
    )
    everything = json.loads((tmp_path / "scores.json").read_text())
    assert len(everything["members"]) == 2
    for row in everything["videos"]:
        for name, score in row["members"].items():
            result = tmp_path / "evaluation" / "runs" / f"{name}.json"
            assert json.loads(result.read_text())["scores"][row["video"]] == score


@pytest.mark.slow
def test_runs_that_cannot_be_used_end_in_one_line(world: World, tmp_path: Path) -> None:
    """Each must say what is missing and what to give, before anything is computed."""
    video = world.videos / "a.mp4"
    (tmp_path / "evaluation" / "runs").mkdir(parents=True)
    shutil.copytree(world.run, tmp_path / "moved" / "run")
    shutil.copytree(world.run, world.root / "weightless")
    tensors, known = read_safetensors(world.run / FILE_NAME)
    trunk = {**known["trunk"], "rgb_weights": str(tmp_path / "gone.pth")}  # type: ignore[dict-item]
    write_safetensors(world.root / "weightless" / FILE_NAME, tensors, {**known, "trunk": trunk})
    for run, more, said in (
        (tmp_path / "none", (), "no such run"),
        (video, (), "the run comes first"),
        (world.videos, (), "the run comes first"),
        (world.root, (), "name one"),
        (world.run, ("--flow", world.features), "holds no flow caches"),
        (tmp_path / "evaluation", ("--ensemble",), "--keep-rankers"),
        (world.root / "weightless", (), "--rgb-weights"),
    ):
        result = pipeline("score", run, video, "--cache", tmp_path / "cache", *ONE, *more)
        assert result.exit_code == 2, result.output
        assert said in result.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("flag", ["--csv", "--json", "-o"])
def test_no_other_file_is_replaced(tmp_path: Path, flag: str) -> None:
    """A mistyped --csv must not cost the judgements, nor -o RUN the ranking of the training."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CHECKPOINT).touch()
    mine = tmp_path / "run" / "scores.csv"
    mine.write_text("video,score,rank,percentile\na.mp4,1.0,1,50.00\n")
    place = tmp_path / "run" if flag == "-o" else mine
    result = pipeline("score", tmp_path / "run", tmp_path / "new.mp4", flag, place, *ONE)
    assert result.exit_code == 2
    assert "was not written by score" in result.stderr
    assert mine.read_text().startswith("video,score,rank")


def test_films_of_explain_are_no_videos(tmp_path: Path) -> None:
    """With results among the videos a second call would score and explain its own films."""
    video = Source(tmp_path / "a.mp4", "a.mp4")
    film = Source(tmp_path / "a.mp4.attention.mp4", "a.mp4.attention.mp4")
    assert without_films([video, film]) == [video]
    with pytest.raises(InputError, match="explain wrote"):
        without_films([film])

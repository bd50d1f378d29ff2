"""What follows the import works without the videos: training, tables, scores, the page."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.judgements.dataset import Span
from pipeline import import_arrays, score_videos
from pipeline.runs.features import find_feature_set
from tests.helpers.small_video import write_video
from tests.import_features.material import (
    TRAINING,
    done,
    pipeline,
    refused,
    write_maps,
    write_pairs,
    write_vectors,
)

VIDEOS, NEW = range(8), range(8, 10)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors `f`, new ones `new`, a run on them; the same with maps; no videos."""
    folder = tmp_path_factory.mktemp("imported")
    pairs = write_pairs(folder / "pairs.csv", VIDEOS)
    words = ("--rate", 4, "--extractor", "I3D")
    done("import-features", write_vectors(folder / "i3d", VIDEOS), "-o", folder / "f", *words)
    done("import-features", write_vectors(folder / "i3d_new", NEW), "-o", folder / "new", *words)
    words = ("--times", "stamps", "--time-unit", "ms")
    for source, output, numbers in (("m", "maps", VIDEOS), ("n", "new_maps", NEW)):
        arrays = write_maps(folder / source, numbers)
        done("import-features", arrays, "-o", folder / output, *words)
    for features, run in (("f", "run"), ("maps", "map_run")):
        where = ("--features", folder / features, "--pairs", pairs, "-o", folder / run)
        done("train-ranker", *where, *TRAINING, "--epochs", 30)
    return folder


def test_new_features_are_scored_without_videos(place: Path, tmp_path: Path) -> None:
    """The way of imported features must end in scores, as that of videos does."""
    said = done("score", place / "run", "--features", place / "new", "-o", tmp_path / "s")
    with (tmp_path / "s" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["video"] for row in rows} == {"v08", "v09"}
    assert {row["path"] for row in rows} == {str(place / "new" / f"v0{n}.h5") for n in (8, 9)}
    assert "Ranked among the 8 training videos" in said
    content = json.loads((tmp_path / "s" / "scores.json").read_text())
    by_function = score_videos(place / "run", features=place / "new", device="cpu")
    assert by_function.rows == content["videos"]


def test_a_training_video_scores_as_in_training(place: Path, tmp_path: Path) -> None:
    """Another time line, scale or order would show as another score."""
    done("score", place / "run", "--features", place / "f", "--csv", tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as now, (place / "run" / "scores.csv").open() as old:
        scores = {row["video"]: row["score"] for row in csv.DictReader(now)}
        trained = {row["video"]: row["score"] for row in csv.DictReader(old)}
    assert scores.keys() == trained.keys()
    for key, score in scores.items():  # Memory is laid out otherwise: float32 rounds otherwise.
        assert float(score) == pytest.approx(float(trained[key]), abs=1e-6)


def test_one_video_by_name(place: Path, tmp_path: Path) -> None:
    """A video's name chooses its features, though the video itself is never read."""
    (tmp_path / "V08.mp4").write_bytes(b"not read")
    words = (tmp_path / "V08.mp4", "--features", place / "new", "--csv", tmp_path / "s.csv")
    done("score", place / "run", *words)
    assert (tmp_path / "s.csv").read_text().splitlines()[1].startswith("V08.mp4,")
    (tmp_path / "other.mp4").write_bytes(b"not read")
    words = (tmp_path / "other.mp4", "--features", place / "new")
    assert "other.mp4.h5: no such cache" in refused("score", place / "run", *words, code=1)


def test_what_a_run_cannot_score_is_one_line(place: Path, tmp_path: Path) -> None:
    """Scores of features that mean something else are numbers without sense."""
    run = place / "run"
    assert "name VIDEOS, or a folder of their features" in refused("score", run)
    (tmp_path / "v.mp4").write_bytes(b"not read")
    line = refused("score", run, tmp_path / "v.mp4")
    assert "was trained on imported features, which are not computed from videos" in line
    assert "`pipeline import-features" in refused("score", run, "--features", place / "i3d_new")
    words = ("-o", tmp_path / "other", "--rate", 4, "--extractor", "VideoMAE")
    done("import-features", place / "i3d_new", *words)
    line = refused("score", run, "--features", tmp_path / "other", code=1)
    assert "made with other extractor (VideoMAE, not I3D) than the training features" in line
    words = ("-o", tmp_path / "scaled", "--rate", 4, "--extractor", "I3D", "--scale", 2)
    done("import-features", place / "i3d_new", *words)
    line = refused("score", run, "--features", tmp_path / "scaled", code=1)
    assert "made with other scale (2, not 1)" in line
    done("import-features", place / "i3d_new", "-o", tmp_path / "rate", "--rate", 5,
         "--extractor", "I3D")  # fmt: skip
    done("score", run, "--features", tmp_path / "rate")


def test_features_of_two_extractors_are_not_mixed(place: Path, tmp_path: Path) -> None:
    """One folder filled by two imports with other options."""
    for numbers, name in ((range(4), "A"), (range(4, 8), "B")):
        arrays = write_vectors(tmp_path / name, numbers)
        import_arrays(arrays, tmp_path / "f", rate=4, extractor=name)
    words = ("--features", tmp_path / "f", "--pairs", place / "pairs.csv", "-o", tmp_path / "run")
    line = refused("train-ranker", *words, *TRAINING)
    assert "it used extractor B, the first one A; run import-features again" in line


def test_evaluate_and_report_need_no_video(place: Path, tmp_path: Path) -> None:
    """A table or a page that stops where pictures or flow are missing."""
    words = ("--features", place / "f", "--pairs", place / "pairs.csv", "-o", tmp_path / "e")
    words += ("--variant", "all", "--folds", 2, "--seeds", 1, "--epochs", 2, "-j", 1)
    said = done("evaluate", *words, *TRAINING)
    assert "video_lstm left out: the features hold no stream maps" in said
    assert "cbam left out: the features have a single cell" in said
    for name in ("full", "no_att", "sca", "raan", "blend", "length (baseline)"):
        assert f"\n{name} " in said
    page = tmp_path / "report.html"
    done("report", place / "run", "--evaluation", tmp_path / "e", "-o", page)
    text = page.read_text(encoding="utf-8")
    assert "I3D" in text
    assert "v07" in text
    assert "extractor I3D" in done("inspect", place / "f" / "v00.h5", place / "run")
    assert "source video is unchanged" in done("inspect", "--verify", place / "f" / "v00.h5")


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("cbam", "cbam needs maps of two positions or more, got 1×1"),
        ("video_lstm", "imported features have none"),
    ],
)
def test_variants_that_need_more_say_so(
    place: Path, tmp_path: Path, variant: str, said: str
) -> None:
    """A shape error of PyTorch in place of a sentence."""
    words = ("--features", place / "f", "--pairs", place / "pairs.csv", "-o", tmp_path / "run")
    assert said in refused("train-ranker", *words, *TRAINING, "--variant", variant)


def test_explain_draws_what_there_is(place: Path, tmp_path: Path) -> None:
    """Maps are drawn over the frames of their times; vectors have no place in the frame."""
    video = tmp_path / "v08.avi"
    write_video(video, 60)
    words = ("-o", tmp_path / "looks", "--video-side", 64, "-j", 1)
    line = refused("explain", place / "run", video, "--features", place / "new", *words)
    assert "imported features of 6×1×1, which do not say where in the frame they are from" in line
    line = refused("explain", place / "map_run", video, *words)
    assert "run import-features on those of the new videos" in line
    done("explain", place / "map_run", video, "--features", place / "new_maps", *words)
    assert (tmp_path / "looks" / "v08.avi.attention.png").stat().st_size > 10_000
    assert (tmp_path / "looks" / "v08.avi.attention.mp4").is_file()


def test_report_takes_videos_of_maps(place: Path, tmp_path: Path) -> None:
    """Videos beside imported features give the page its pictures and attention."""
    (tmp_path / "videos").mkdir()
    for number in VIDEOS:
        write_video(tmp_path / "videos" / f"v{number:02}.avi", 60)
    page = tmp_path / "report.html"
    done("report", place / "map_run", "--videos", tmp_path / "videos", "-o", page, "-j", 1)
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") >= len(VIDEOS) + 1
    assert "with the ranker" in text


def test_judged_seconds_choose_features(tmp_path: Path) -> None:
    """BEST judges parts of videos in seconds: features before and after must not be seen."""
    arrays = write_vectors(tmp_path / "a", range(1))
    done("import-features", arrays, "-o", tmp_path / "f", "--rate", 2)
    spans = {"v00": Span(1.0, 3.0, "seconds")}
    chosen = find_feature_set(tmp_path / "f", ["v00"], 2, spans=spans)
    assert chosen.rows[0].tolist() == [2, 3, 4, 5]


def test_a_cache_that_was_renamed_is_refused(place: Path, tmp_path: Path) -> None:
    """Features under another video's name would be ranked as that video."""
    done("import-features", place / "i3d", "-o", tmp_path / "f", "--rate", 4)
    (tmp_path / "f" / "v03.h5").rename(tmp_path / "f" / "w03.h5")
    (tmp_path / "pairs.csv").write_text("better,worse\nw03,v01\nv01,v00\n")
    words = ("--features", tmp_path / "f", "--pairs", tmp_path / "pairs.csv")
    line = refused("train-ranker", *words, "-o", tmp_path / "run", *TRAINING)
    assert "not of w03" in line


def test_damage_of_a_cache_is_found(place: Path, tmp_path: Path) -> None:
    """Imported caches are sealed like all others."""
    done("import-features", place / "i3d", "-o", tmp_path / "f", "--rate", 4)
    with h5py.File(tmp_path / "f" / "v00.h5", "r+") as file:
        file["maps"][0] = np.float16(3)
    result = pipeline("inspect", "--verify", tmp_path / "f" / "v00.h5")
    assert result.exit_code == 1
    assert "maps: content differs from its digest" in result.output

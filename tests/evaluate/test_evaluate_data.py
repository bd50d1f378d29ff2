"""Inputs of cross-validation besides caches and pairs: used correctly, or refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.cache.features import create_features
from data.cache.flow import create_flow
from data.cache.folder import cache_path
from data.cache.header import Header
from data.errors import InputError
from data.judgements.dataset import Span
from data.judgements.pairs import Pair
from tests.evaluate.material import FAST, VIDEOS, run, table_rows
from tests.helpers.places import FIXTURES


def test_missing_features_are_counted_and_skipped_only_when_asked(
    features: Path, tmp_path: Path
) -> None:
    """Silently fewer pairs would be another data set under the same name."""
    path = tmp_path / "pairs.csv"
    rows = [f"v{a:02},v{b:02}" for a in range(VIDEOS) for b in range(a + 1, VIDEOS)]
    path.write_text("\n".join(["better,worse", *rows, "v00,lost_1", "v01,lost_2"]) + "\n")
    args = ("--features", features, "--pairs", path, "--folds", 2, "--seeds", 1)
    refused = run(*args, "-o", tmp_path / "out", *FAST)
    assert refused.exit_code == 2
    assert "2 of 14 videos have no feature cache, e.g. lost_1" in refused.stderr
    result = run(*args, "--missing", "skip", "--dry-run", "-o", tmp_path / "out", *FAST)
    assert result.exit_code == 0, result.output
    assert "would train 2 of 2 runs" in result.output
    assert not (tmp_path / "out").exists()


def test_mean_flow_is_measured_from_flow_caches(features: Path, tmp_path: Path) -> None:
    """The baseline must be the flow's length in px, over all keys and their judged parts alone."""
    from pipeline.evaluate.baselines import baseline_scores
    from pipeline.evaluate.statistics import training_sign

    keys = ["s0/v00.avi", "s1/v01.avi"]
    for key, speeds in zip(keys, ((0.0, 6.0), (1.0, 1.0)), strict=True):
        with create_flow(
            cache_path(tmp_path, key),
            Header("flow", source=key),
            pairs=np.array([[0, 1], [30, 31]]),
            frame_time=np.arange(40) / 25,
            height=4,
            width=6,
            bound=20,
        ) as writer:
            for row, speed in enumerate(speeds):
                flow = np.zeros((4, 6, 2), np.float32)
                flow[..., 1] = -speed
                writer.put(row, flow)
    measured, left_out = baseline_scores(features, keys, {"flow": tmp_path})
    # Half a level of the 8-bit cache.
    assert measured["mean flow"] == pytest.approx(dict(zip(keys, (3, 1), strict=True)), abs=0.08)
    assert measured["length"][keys[0]] == pytest.approx(40 / 25)
    assert len(left_out) == 1
    assert training_sign(measured["mean flow"], [Pair(keys[1], keys[0])]) == -1
    partial, reasons = baseline_scores(features, [*keys, "s2/v02.avi"], {"flow": tmp_path})
    assert "mean flow" not in partial
    assert "1 of 3 flow caches are not in" in reasons[0]
    judged = {keys[0]: Span(25, 39, "frames")}
    part, _ = baseline_scores(features, keys, {"flow": tmp_path}, spans=judged)
    assert part["mean flow"] == pytest.approx(dict(zip(keys, (6, 1), strict=True)), abs=0.08)
    assert part["length"] == pytest.approx({keys[0]: 15 / 25, keys[1]: 40 / 25})


def test_an_unknown_variant_is_refused(features: Path, pairs: Path, tmp_path: Path) -> None:
    """One clear line before any training."""
    result = run("--features", features, "--pairs", pairs, "--variant", "ful", "-o", tmp_path)
    assert result.exit_code == 2
    assert "no variant 'ful'" in result.stderr


def test_all_leaves_out_what_the_features_cannot_feed(features: Path, pairs: Path) -> None:
    """One variant without its maps would stop the comparison of ten, or be left out silently."""
    args = ("--features", features, "--pairs", pairs, "--seeds", 1, "-o", "out", "--dry-run", *FAST)
    result = run(*args, "--variant", "raan", "--variant", "all")
    assert result.exit_code == 0, result.output
    assert "would train 44 of 44 runs" in result.stdout  # eleven variants, four folds
    assert "video_lstm left out: the features hold no stream maps" in result.stdout
    named = run(*args, "--variant", "video_lstm", "--variant", "all")
    assert named.exit_code == 2
    assert "--keep-streams" in named.stderr


def test_names_of_scores_may_differ_from_those_of_pairs(
    features: Path, pairs: Path, tmp_path: Path
) -> None:
    """Correlations would be refused because one table names files and the other videos."""
    scores = tmp_path / "scores.csv"
    rows = [f"s{n % 3}/v{n:02}.avi,{n}" for n in range(VIDEOS)]
    scores.write_text("\n".join(["video,score", *rows]) + "\n")
    args = ("--features", features, "--pairs", pairs, "-o", tmp_path / "out", "--dry-run", *FAST)
    result = run(*args, "--scores", scores)
    assert result.exit_code == 0, result.output
    scores.write_text("video,score\nsomebody,1\nelse,2\n")
    none = run(*args, "--scores", scores)
    assert none.exit_code == 2
    assert "none of its 2 videos has a feature cache" in none.stderr


def test_contradictory_pairs_are_reported_and_used_unless_strict(
    features: Path, tmp_path: Path
) -> None:
    """A contradiction would be hidden, or a single slip would stop a whole evaluation."""
    path = tmp_path / "pairs.csv"
    rows = [f"v{a:02},v{b:02}" for a in range(VIDEOS) for b in range(a + 1, VIDEOS)]
    path.write_text("\n".join(["better,worse", *rows, "v03,v00"]) + "\n")
    args = ("--features", features, "--pairs", path, "--folds", 2, "-o", tmp_path / "out", *FAST)
    result = run(*args, "--dry-run")
    assert result.exit_code == 0, result.output
    warning = next(line for line in result.stderr.splitlines() if line.startswith("warning"))
    assert "1 pair judged both ways, e.g. v00 > v03 (1 for, 1 against)" in warning
    assert "attainable pair accuracy: at most 98.51 %" in warning  # 66 of 67
    refused = run(*args, "--strict")
    assert refused.exit_code == 2
    assert "1 pair judged both ways" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_attention_is_measured_where_the_map_lies_in_the_frame() -> None:
    """Cells in the middle of their tiles would be 16 px of 224 off what they look at."""
    from pipeline.evaluate.attention import map_geometry

    # Stream cells of 224 px have their centres on 0.5, 32.5 … 192.5; a fused one between two of
    # them, and the seventh is dropped.
    geometry = map_geometry({"input_size": 224, "trunk_stage": "conv5"})
    assert geometry is not None
    np.testing.assert_allclose(geometry.centres(3) * 224, [16.5, 80.5, 144.5])
    np.testing.assert_allclose(geometry.bounds(3) * 224, [0, 48.5, 112.5, 176.5])
    even = map_geometry({"input_size": 192, "trunk_stage": "conv5"})
    assert even is not None
    np.testing.assert_allclose(even.bounds(3) * 192, [0, 48.5, 112.5, 192])
    assert map_geometry({}) is None


def test_only_the_judged_part_of_a_video_is_used(features: Path, tmp_path: Path) -> None:
    """A whole kitchen video would be judged where only the rolling was; a cut one must stay."""
    from pipeline.runs.features import find_feature_set

    keys = ["s0/v00.avi", "s1/v01.avi", "s2/v02.avi"]  # snippets at frames 5, 15, 25, 35 of 40
    whole = find_feature_set(features, keys, 4)
    spans = {keys[0]: Span(10, 29, "frames"), keys[1]: Span(0.3, 1.1, "seconds")}
    cut = find_feature_set(features, keys, 4, spans=spans)
    assert [list(frames) for frames in cut.frame_index] == [[15, 25], [15, 25], [5, 15, 25, 35]]
    assert cut.segment[0].tolist() == [1, 3]  # 5 and 15 of 20 frames
    assert cut.parts == {keys[0]: (10, 30), keys[1]: (7, 28)}
    assert cut.segment[2].tolist() == whole.segment[2].tolist()
    beyond = {keys[0]: Span(1000, 4000, "frames")}
    longer = find_feature_set(features, keys, 4, spans=beyond)
    assert longer.rows[0].tolist() == whole.rows[0].tolist()  # already cut out
    with pytest.raises(InputError, match="no snippet lies in the judged part"):
        find_feature_set(features, keys, 4, spans={keys[0]: Span(16, 20, "frames")})


def test_published_numbers_are_shown_for_a_known_data_set(tmp_path: Path) -> None:
    """The paper's numbers must be labelled as such, in the right rows."""
    epic = FIXTURES / "annotations" / "EPIC-Skills2018"
    rng = np.random.default_rng(0)
    for task in ("Suturing", "Knot_Tying", "Needle_Passing"):
        for trial in ("B001", "B002", "C001", "C002"):
            key = f"{task}/video/{task}_{trial}_capture2.avi"
            header = Header("features", source=key, source_digest=key, decoded_frames=20)
            path = cache_path(tmp_path / "features", key)
            with create_features(path, header, np.array([9]), np.array([0.3]), (4, 2, 2)) as writer:
                writer.put(0, rng.normal(size=(4, 2, 2)).astype(np.float32))
    result = run(
        "--features", tmp_path / "features", "--pairs", epic, "--task", "surgery", "--seeds", 1,
        "--variant", "full", "--variant", "cbam", "-o", tmp_path / "out", *FAST,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = table_rows(tmp_path / "out")
    assert rows["full"]["published_percent"] == "73.1"
    assert rows["cbam"]["published_percent"] == ""
    assert "published, %" in result.output
    assert "published: Li, Huang, Cai, Sato" in result.output
    assert "4 folds (published)" in result.output


def test_brightness_is_measured_from_the_videos(tmp_path: Path) -> None:
    """The baseline must be the mean grey level of each video under its own key."""
    import cv2

    from pipeline.evaluate.baselines import BASELINES, measure

    levels = {"a/dark": 50, "b/light": 200}
    for key, level in levels.items():
        (tmp_path / key).mkdir(parents=True)
        for number in range(3):
            frame = np.full((16, 16, 3), level, np.uint8)
            cv2.imwrite(str(tmp_path / key / f"img_{number:05}.png"), frame)
    brightness = next(each for each in BASELINES if each.name == "brightness")
    measured = measure(brightness, tmp_path, dict.fromkeys(levels))
    assert measured == pytest.approx(levels, abs=0.5)  # half a grey level of rounding


def test_every_baseline_has_a_flag_for_its_files() -> None:
    """A baseline without one could never be measured, and its hint would name no flag."""
    from pipeline.evaluate.baselines import BASELINES
    from pipeline.evaluate.settings import EvaluateOptions

    flags = {"features", *(each.name for each in dataclasses.fields(EvaluateOptions))}
    assert {each.source for each in BASELINES} <= flags

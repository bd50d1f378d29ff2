"""Cross-validation end to end on tiny feature caches with a planted signal."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from data.annotations.dataset import Span
from data.cache import cache_path
from data.cache_header import Header
from data.errors import InputError
from data.feature_cache import create_features
from data.flow_cache import create_flow
from data.pairs import Pair
from data.splits import k_fold_by_video
from model.ranker.options import TrainOptions
from pipeline.cli import cli
from pipeline.validation_pairs import choose_pairs

VIDEOS = 12
SNIPPETS = 4
FAST = ["--segments", "4", "--hidden-size", "8", "--epochs", "15", "-j", "1"]


def _write_features(folder: Path, signal: bool = True) -> None:
    """Videos v00 (best) … v11 (worst): skill is the mean of the first channel."""
    rng = np.random.default_rng(0)
    for number in range(VIDEOS):
        key = f"s{number % 3}/v{number:02}.avi"
        frames = np.arange(SNIPPETS) * 10 + 5
        header = Header("features", source=key, source_digest=f"{number:064}", decoded_frames=40)
        with create_features(
            cache_path(folder, key), header, frames, frames / 25.0, (6, 2, 2)
        ) as writer:
            for row in range(SNIPPETS):
                maps = rng.normal(0, 0.3, (6, 2, 2))
                maps[0] += (VIDEOS - number) / 4 if signal else 0
                writer.put(row, maps.astype(np.float32))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    _write_features(folder)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = [f"v{a:02},v{b:02}" for a in range(VIDEOS) for b in range(a + 1, VIDEOS)]
    path.write_text("\n".join(["better,worse", *rows]) + "\n")
    return path


def _run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, args)])


def _rows(output: Path) -> dict[str, dict[str, str]]:
    lines = (output / "table.csv").read_text().splitlines()
    return {row["method"]: row for row in csv.DictReader(lines)}


@pytest.fixture(scope="module")
def finished(
    features: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Result]:
    """Two variants, three folds, two seeds; scores and boxes given."""
    output = tmp_path_factory.mktemp("results")
    scores = output / "skill.csv"
    scores.write_text("video,skill\n" + "".join(f"v{n:02},{VIDEOS - n}\n" for n in range(VIDEOS)))
    boxes = output / "boxes.csv"
    rows = [f"v{n:02},{f},0,0,.5,.5" for n in range(VIDEOS) for f in range(40)]
    boxes.write_text("\n".join(["video,frame,x0,y0,x1,y1", *rows]) + "\n")
    result = _run(
        "--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 2,
        "--variant", "full", "--variant", "no_att", "--scores", scores, "--boxes", boxes,
        "-o", output, *FAST,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return output, result


def test_planted_signal_is_found_and_tabulated(finished: tuple[Path, Result]) -> None:
    """The whole chain would be wrong if it could not rank videos by an obvious difference."""
    output, result = finished
    rows = _rows(output)
    for variant in ("full", "no_att"):
        assert float(rows[variant]["accuracy_mean"]) > 0.85  # chance is .5
        assert float(rows[variant]["spearman_mean"]) > 0.7
        assert rows[variant]["accuracy_folds"] == "3"
        assert float(rows[variant]["both_unseen_mean"]) > 0.6
    assert rows["no_att"]["difference_low"]
    assert not rows["full"]["difference_low"]
    assert float(rows["chance (baseline)"]["accuracy_mean"]) == 0.5
    assert float(rows["attainable"]["accuracy_mean"]) == 1
    assert "baseline 'length' left out: it is the same for all videos" in result.output
    assert "baseline 'mean flow' left out: give --flow" in result.output
    assert "less full [95 %]" in result.output
    assert "training pairs right, %" in result.output
    assert "attention of full, mass in the box" in result.output
    attention = list(csv.DictReader((output / "attention.csv").read_text().splitlines()))
    assert [row["attention"] for row in attention] == ["trained", "untrained", "chance"]
    # A quarter of the frame is box: even attention has a quarter of its mass there.
    assert float(attention[2]["mass_mean"]) == pytest.approx(0.25)
    assert attention[0]["variant"] == "full"  # no_att has no map to measure


def test_every_form_holds_the_same_table(finished: tuple[Path, Result]) -> None:
    """A number copied from one file into a paper must be that of the others."""
    output, result = finished
    assert (output / "table.txt").read_text() in result.output
    full = next(line for line in result.output.splitlines() if line.startswith("full "))
    accuracy = full.split()[1]
    assert f"| full | {accuracy} ±" in (output / "table.md").read_text()
    latex = (output / "table.tex").read_text()
    assert rf"full & {accuracy} $\pm$" in latex
    assert r"no\_att &" in latex
    content = json.loads((output / "results.json").read_text())
    assert len(content["runs"]) == 2 * 3 * 2
    assert f"{100 * content['rows'][0]['accuracy']['mean']:.1f}" == accuracy


def test_finished_runs_are_not_done_again(
    finished: tuple[Path, Result], features: Path, pairs: Path
) -> None:
    """An interrupted evaluation would start from nothing, or give other numbers."""
    output, _ = finished
    kept = {path: path.stat().st_mtime_ns for path in (output / "runs").iterdir()}
    lost = output / "runs" / "full-fold2-seed1.json"
    before = lost.read_text()
    lost.unlink()
    again = _run(
        "--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 2,
        "--variant", "full", "--variant", "no_att", "--scores", output / "skill.csv",
        "--boxes", output / "boxes.csv", "-o", output, *FAST,
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    changed = [path for path, when in kept.items() if path.stat().st_mtime_ns != when]
    assert changed == [lost]
    old, new = json.loads(before), json.loads(lost.read_text())
    assert old["scores"] == new["scores"]


def test_maps_that_do_not_fit_are_mapped_from_a_file_and_change_nothing(
    finished: tuple[Path, Result],
    features: Path,
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large set would fill the memory once for each worker, or give other numbers."""
    from pipeline import evaluation_maps

    monkeypatch.setattr(evaluation_maps, "free_memory", lambda: 1000)
    evaluation_maps._maps.cache_clear()
    again = _run(
        "--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 1,
        "-o", tmp_path / "out", *FAST,
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert "the maps are read from a mapped file" in again.stderr
    name = "full-fold2-seed0.json"
    mapped = json.loads((tmp_path / "out" / "runs" / name).read_text())
    kept = json.loads((finished[0] / "runs" / name).read_text())
    assert mapped["scores"] == kept["scores"]
    assert not [path for path in (tmp_path / "out").rglob("*") if "tmp" in path.name]


def test_results_of_other_options_are_refused(
    finished: tuple[Path, Result], features: Path, pairs: Path
) -> None:
    """A table mixed from two sets of options would be nobody's result."""
    output, _ = finished
    result = _run(
        "--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 2,
        "--variant", "full", "--scores", output / "skill.csv", "--boxes", output / "boxes.csv",
        "-o", output, *FAST, "--margin", 0.7,
    )  # fmt: skip
    assert result.exit_code == 2
    assert "margin 0.5, you asked 0.7" in result.stderr
    assert "--overwrite" in result.stderr


def test_authors_protocol_is_labelled_everywhere(
    features: Path, pairs: Path, tmp_path: Path
) -> None:
    """Accuracies chosen on the test pairs must not pass for honest ones."""
    result = _run(
        "--features", features, "--pairs", pairs, "--folds", 2, "--seeds", 1,
        "--protocol", "authors", "-o", tmp_path, *FAST[:4], "--epochs", 2, "-j", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "AUTHORS' PROTOCOL" in result.stdout
    for name in ("table.txt", "table.md", "table.tex", "results.json"):
        assert "AUTHORS' PROTOCOL" in (tmp_path / name).read_text()
    rows = _rows(tmp_path)
    assert "AUTHORS' PROTOCOL" in rows["full"]["protocol"]
    assert not rows["chance (baseline)"]["protocol"]
    for path in (tmp_path / "runs").iterdir():
        assert json.loads(path.read_text())["protocol"] == "authors"


@settings(max_examples=30)
@given(st.integers(2, 4), st.integers(0, 10**6), st.booleans())
def test_no_test_video_is_trained_or_chosen_on(k: int, seed: int, grouped: bool) -> None:
    """A test video in training or in the choice of the epoch is the error this must exclude."""
    names = [f"s{n % 4}_{n}" for n in range(16)]
    pairs = [Pair(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    groups = {name: name[:2] for name in names} if grouped else None
    for split in k_fold_by_video(pairs, k, seed):
        for protocol in ("validation", "last"):
            train = TrainOptions(protocol=protocol)
            fitted, validation = choose_pairs(split, train, seed, groups)
            used = {name for p in [*fitted, *validation] for name in (p.better, p.worse)}
            assert not used & split.held_out
            assert fitted
            assert bool(validation) == (protocol == "validation")
            held = {n for p in validation for n in (p.better, p.worse)} - {
                n for p in fitted for n in (p.better, p.worse)
            }
            assert all(p.better in held or p.worse in held for p in validation)


def test_planted_noise_scores_near_chance(pairs: Path, tmp_path: Path) -> None:
    """Far above chance without any signal means that test videos leaked into training."""
    _write_features(tmp_path / "features", signal=False)
    result = _run(
        "--features", tmp_path / "features", "--pairs", pairs, "--folds", 3, "--seeds", 1,
        "-o", tmp_path / "out", *FAST,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = _rows(tmp_path / "out")
    # Cross pairs know the training video's place, which lifts even noise; both unseen do not.
    assert float(rows["full"]["both_unseen_mean"]) < 0.85


def test_missing_features_are_counted_and_skipped_only_when_asked(
    features: Path, tmp_path: Path
) -> None:
    """Silently fewer pairs would be another data set under the same name."""
    path = tmp_path / "pairs.csv"
    rows = [f"v{a:02},v{b:02}" for a in range(VIDEOS) for b in range(a + 1, VIDEOS)]
    path.write_text("\n".join(["better,worse", *rows, "v00,lost_1", "v01,lost_2"]) + "\n")
    args = ("--features", features, "--pairs", path, "--folds", 2, "--seeds", 1)
    refused = _run(*args, "-o", tmp_path / "out", *FAST)
    assert refused.exit_code == 2
    assert "2 of 14 videos have no feature cache, e.g. lost_1" in refused.stderr
    shown = _run(*args, "--missing", "skip", "--dry-run", "-o", tmp_path / "out", *FAST)
    assert shown.exit_code == 0, shown.output
    assert "would train 2 of 2 runs" in shown.output
    assert not (tmp_path / "out").exists()


def test_mean_flow_is_measured_from_flow_caches(features: Path, tmp_path: Path) -> None:
    """The baseline must be the flow's length in px, over all keys and their judged parts alone."""
    from pipeline.baselines import baseline_scores, training_sign

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
    measured, left_out = baseline_scores(features, keys, flow=tmp_path)
    # Half a level of the 8-bit cache.
    assert measured["mean flow"] == pytest.approx(dict(zip(keys, (3, 1), strict=True)), abs=0.08)
    assert measured["length"][keys[0]] == pytest.approx(40 / 25)
    assert len(left_out) == 1
    assert training_sign(measured["mean flow"], [Pair(keys[1], keys[0])]) == -1
    partial, reasons = baseline_scores(features, [*keys, "s2/v02.avi"], flow=tmp_path)
    assert "mean flow" not in partial
    assert "1 of 3 flow caches are not in" in reasons[0]
    judged = {keys[0]: Span(25, 39, "frames")}
    part, _ = baseline_scores(features, keys, flow=tmp_path, spans=judged)
    assert part["mean flow"] == pytest.approx(dict(zip(keys, (6, 1), strict=True)), abs=0.08)
    assert part["length"] == pytest.approx({keys[0]: 15 / 25, keys[1]: 40 / 25})


def test_bad_boxes_and_variants_are_refused(features: Path, pairs: Path, tmp_path: Path) -> None:
    """One clear line before any training."""
    from pipeline.evaluation_plan import read_boxes

    (tmp_path / "b.csv").write_text("video,frame,x0,y0,x1\n")
    with pytest.raises(InputError, match="expected the columns 'video,frame,x0,y0,x1,y1'"):
        read_boxes(tmp_path / "b.csv", [])
    result = _run("--features", features, "--pairs", pairs, "--variant", "ful", "-o", tmp_path)
    assert result.exit_code == 2
    assert "no variant 'ful'" in result.stderr


def test_all_leaves_out_what_the_features_cannot_feed(features: Path, pairs: Path) -> None:
    """One variant without its maps would stop the comparison of ten, or be missed in silence."""
    args = ("--features", features, "--pairs", pairs, "--seeds", 1, "-o", "out", "--dry-run", *FAST)
    shown = _run(*args, "--variant", "raan", "--variant", "all")
    assert shown.exit_code == 0, shown.output
    assert "would train 40 of 40 runs" in shown.stdout  # ten variants, four folds
    assert "video_lstm left out: the features hold no stream maps" in shown.stdout
    named = _run(*args, "--variant", "video_lstm", "--variant", "all")
    assert named.exit_code == 2
    assert "--keep-streams" in named.stderr


def test_scores_may_be_spelt_otherwise_than_pairs(
    features: Path, pairs: Path, tmp_path: Path
) -> None:
    """Correlations would be refused because one table names files and the other videos."""
    scores = tmp_path / "scores.csv"
    rows = [f"s{n % 3}/v{n:02}.avi,{n}" for n in range(VIDEOS)]
    scores.write_text("\n".join(["video,score", *rows]) + "\n")
    args = ("--features", features, "--pairs", pairs, "-o", tmp_path / "out", "--dry-run", *FAST)
    shown = _run(*args, "--scores", scores)
    assert shown.exit_code == 0, shown.output
    scores.write_text("video,score\nsomebody,1\nelse,2\n")
    none = _run(*args, "--scores", scores)
    assert none.exit_code == 2
    assert "none of its 2 videos has a feature cache" in none.stderr


def test_a_kept_ranker_never_stands_beside_another_result(
    features: Path, pairs: Path, tmp_path: Path
) -> None:
    """An ensemble would score with rankers of options that the table is not about."""
    args = (
        "--features", features, "--pairs", pairs, "--folds", 2, "--seeds", 1,
        "-o", tmp_path, *FAST[:4], "--epochs", 2, "-j", 1,
    )  # fmt: skip
    assert _run(*args, "--keep-rankers").exit_code == 0
    kept = sorted(tmp_path.rglob("checkpoint.safetensors"))
    assert len(kept) == 2
    assert _run(*args, "--overwrite", "--margin", 0.7).exit_code == 0
    assert not [*tmp_path.rglob("checkpoint.safetensors")]
    again = _run(*args, "--margin", 0.7, "--keep-rankers")
    assert again.exit_code == 0, again.output
    assert sorted(tmp_path.rglob("checkpoint.safetensors")) == kept
    fewer = (*args, "--keep-rankers", "--margin", 0.6, "--folds", 3)  # the last --folds counts
    assert _run(*fewer, "--overwrite").exit_code == 0
    assert len([*tmp_path.rglob("checkpoint.safetensors")]) == 3
    assert _run(*args, "--keep-rankers", "--overwrite").exit_code == 0
    assert sorted(tmp_path.rglob("checkpoint.safetensors")) == kept  # not the third fold of others
    more = (*args, "--keep-rankers", "--variant", "no_att", "--overwrite")
    assert _run(*more).exit_code == 0
    assert len([*tmp_path.rglob("checkpoint.safetensors")]) == 4  # `full` of the same options stays


def test_contradictory_pairs_are_reported_and_used_unless_strict(
    features: Path, tmp_path: Path
) -> None:
    """A contradiction would be hidden, or one slip of the pen would stop a whole evaluation."""
    path = tmp_path / "pairs.csv"
    rows = [f"v{a:02},v{b:02}" for a in range(VIDEOS) for b in range(a + 1, VIDEOS)]
    path.write_text("\n".join(["better,worse", *rows, "v03,v00"]) + "\n")
    args = ("--features", features, "--pairs", path, "--folds", 2, "-o", tmp_path / "out", *FAST)
    shown = _run(*args, "--dry-run")
    assert shown.exit_code == 0, shown.output
    warned = next(line for line in shown.stderr.splitlines() if line.startswith("warning"))
    assert "1 pair judged both ways, e.g. v00 > v03 (1 for, 1 against)" in warned
    assert "attainable pair accuracy: 98.51 %" in warned  # 66 of 67
    refused = _run(*args, "--strict")
    assert refused.exit_code == 2
    assert "1 pair judged both ways" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_attention_is_measured_where_the_map_lies_in_the_frame() -> None:
    """Cells in the middle of their tiles would be 16 px of 224 beside what they saw."""
    from pipeline.evaluation_attention import grid_of

    # Stream cells of 224 px have their centres on 0.5, 32.5 … 192.5; a fused one between two of
    # them, and the seventh is dropped.
    found = grid_of({"input_size": 224, "trunk_stage": "conv5"})
    assert found is not None
    np.testing.assert_allclose(found.centres(3) * 224, [16.5, 80.5, 144.5])
    np.testing.assert_allclose(found.bounds(3) * 224, [0, 48.5, 112.5, 176.5])
    even = grid_of({"input_size": 192, "trunk_stage": "conv5"})
    assert even is not None
    np.testing.assert_allclose(even.bounds(3) * 192, [0, 48.5, 112.5, 192])
    assert grid_of({}) is None


def test_only_the_judged_part_of_a_video_is_used(features: Path, tmp_path: Path) -> None:
    """A whole kitchen video would be judged where only the rolling was; a cut one must stay."""
    from pipeline.feature_set import find_feature_set
    from pipeline.judged_part import within_spans

    keys = ["s0/v00.avi", "s1/v01.avi", "s2/v02.avi"]  # snippets at frames 5, 15, 25, 35 of 40
    found = find_feature_set(features, keys, 4)
    spans = {keys[0]: Span(10, 29, "frames"), keys[1]: Span(0.3, 1.1, "seconds")}
    cut = within_spans(found, spans, 4)
    assert [list(frames) for frames in cut.frame_index] == [[15, 25], [15, 25], [5, 15, 25, 35]]
    assert cut.segment[0].tolist() == [1, 3]  # 5 and 15 of 20 frames
    assert cut.parts == {keys[0]: (10, 30), keys[1]: (7, 28)}
    assert cut.segment[2].tolist() == found.segment[2].tolist()
    longer = within_spans(found, {keys[0]: Span(1000, 4000, "frames")}, 4)
    assert longer.rows[0].tolist() == found.rows[0].tolist()  # cut out already
    with pytest.raises(InputError, match="no snippet lies in the judged part"):
        within_spans(found, {keys[0]: Span(16, 20, "frames")}, 4)


def test_published_numbers_stand_beside_a_known_data_set(tmp_path: Path) -> None:
    """The paper's numbers must be labelled as such, and stand in the right rows."""
    epic = Path(__file__).parent / "fixtures" / "annotations" / "EPIC-Skills2018"
    rng = np.random.default_rng(0)
    for task in ("Suturing", "Knot_Tying", "Needle_Passing"):
        for trial in ("B001", "B002", "C001", "C002"):
            key = f"{task}/video/{task}_{trial}_capture2.avi"
            header = Header("features", source=key, source_digest=key, decoded_frames=20)
            path = cache_path(tmp_path / "features", key)
            with create_features(path, header, np.array([9]), np.array([0.3]), (4, 2, 2)) as writer:
                writer.put(0, rng.normal(size=(4, 2, 2)).astype(np.float32))
    result = _run(
        "--features", tmp_path / "features", "--pairs", epic, "--task", "surgery", "--seeds", 1,
        "--variant", "full", "--variant", "cbam", "-o", tmp_path / "out", *FAST,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = _rows(tmp_path / "out")
    assert rows["full"]["published_percent"] == "73.1"
    assert rows["cbam"]["published_percent"] == ""
    assert "published, %" in result.output
    assert "published: Li, Huang, Cai, Sato" in result.output
    assert "4 folds (published)" in result.output


def test_brightness_is_measured_from_the_videos(tmp_path: Path) -> None:
    """The baseline must be the mean grey level of each video under its own key."""
    import cv2

    from pipeline.baselines import _measure
    from pipeline.jobs import JobOptions

    levels = {"a/dark": 50, "b/light": 200}
    for key, level in levels.items():
        (tmp_path / key).mkdir(parents=True)
        for number in range(3):
            frame = np.full((16, 16, 3), level, np.uint8)
            cv2.imwrite(str(tmp_path / key / f"img_{number:05}.png"), frame)
    measured = _measure("brightness", tmp_path, dict.fromkeys(levels), JobOptions(jobs=1))
    assert measured == pytest.approx(levels, abs=0.5)  # half a grey level of rounding


def test_shards_together_give_the_whole_table(
    finished: tuple[Path, Result], features: Path, pairs: Path, tmp_path: Path
) -> None:
    """A cluster job would lose runs, or write a table with holes."""
    args = (
        "--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 2,
        "--variant", "full", "-o", tmp_path, *FAST,
    )  # fmt: skip
    first = _run(*args, "--shard", "1/2")
    assert first.exit_code == 0, first.output
    assert not (tmp_path / "table.csv").exists()
    second = _run(*args, "--shard", "2/2")
    assert second.exit_code == 0, second.output
    whole, _ = finished
    assert _rows(tmp_path)["full"]["accuracy_mean"] == _rows(whole)["full"]["accuracy_mean"]

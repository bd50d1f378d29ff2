"""Cross-validation end to end on tiny feature caches with a planted signal."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from data.judgements.pairs import Pair
from data.judgements.splits import k_fold_by_video
from model.ranker.options import TrainOptions
from pipeline.runs.choice import FEWEST_TO_DIVIDE, choose_pairs
from pipeline.runs.folder import load_run
from tests.evaluate.material import FAST, run, table_rows, write_features


def test_planted_signal_is_found_and_tabulated(finished: tuple[Path, Result]) -> None:
    """The chain is wrong if it cannot rank videos by an obvious difference."""
    output, result = finished
    rows = table_rows(output)
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
    again = run(
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
    from pipeline.evaluate import runs
    from pipeline.runs import maps

    monkeypatch.setattr(maps, "free_memory", lambda: 1000)
    runs._kept_maps.clear()
    again = run(
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
    """A table mixed from two sets of options is the result of neither."""
    output, _ = finished
    result = run(
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
    result = run(
        "--features", features, "--pairs", pairs, "--folds", 2, "--seeds", 1,
        "--protocol", "authors", "-o", tmp_path, *FAST[:4], "--epochs", 2, "-j", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "AUTHORS' PROTOCOL" in result.stdout
    for name in ("table.txt", "table.md", "table.tex", "results.json"):
        assert "AUTHORS' PROTOCOL" in (tmp_path / name).read_text()
    rows = table_rows(tmp_path)
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
            divided = protocol == "validation" and len(split.train) >= FEWEST_TO_DIVIDE
            assert bool(validation) == divided
            held = {n for p in validation for n in (p.better, p.worse)} - {
                n for p in fitted for n in (p.better, p.worse)
            }
            assert all(p.better in held or p.worse in held for p in validation)


def test_planted_noise_scores_near_chance(pairs: Path, tmp_path: Path) -> None:
    """Far above chance without any signal means that test videos leaked into training."""
    write_features(tmp_path / "features", signal=False)
    result = run(
        "--features", tmp_path / "features", "--pairs", pairs, "--folds", 3, "--seeds", 1,
        "-o", tmp_path / "out", *FAST,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = table_rows(tmp_path / "out")
    # Cross pairs know the training video's place, which lifts even noise; both unseen do not.
    assert float(rows["full"]["both_unseen_mean"]) < 0.85


def test_no_ranker_is_kept_with_another_result(features: Path, pairs: Path, tmp_path: Path) -> None:
    """An ensemble would use rankers of options that the table does not show."""
    args = (
        "--features", features, "--pairs", pairs, "--folds", 2, "--seeds", 1,
        "-o", tmp_path, *FAST[:4], "--epochs", 2, "-j", 1,
    )  # fmt: skip
    assert run(*args, "--keep-rankers").exit_code == 0
    kept = sorted(tmp_path.rglob("checkpoint.safetensors"))
    assert len(kept) == 2
    assert run(*args, "--overwrite", "--margin", 0.7).exit_code == 0
    assert not [*tmp_path.rglob("checkpoint.safetensors")]
    again = run(*args, "--margin", 0.7, "--keep-rankers")
    assert again.exit_code == 0, again.output
    assert sorted(tmp_path.rglob("checkpoint.safetensors")) == kept
    fewer = (*args, "--keep-rankers", "--margin", 0.6, "--folds", 3)  # the last --folds counts
    assert run(*fewer, "--overwrite").exit_code == 0
    assert len([*tmp_path.rglob("checkpoint.safetensors")]) == 3
    assert run(*args, "--keep-rankers", "--overwrite").exit_code == 0
    assert sorted(tmp_path.rglob("checkpoint.safetensors")) == kept  # not the third fold of others
    more = (*args, "--keep-rankers", "--variant", "no_att", "--overwrite")
    assert run(*more).exit_code == 0
    assert len([*tmp_path.rglob("checkpoint.safetensors")]) == 4  # `full` of the same options stays


def test_shards_together_give_the_whole_table(
    finished: tuple[Path, Result], features: Path, pairs: Path, tmp_path: Path
) -> None:
    """A cluster job would lose runs, or write a table with holes."""
    args = (
        "--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 2,
        "--variant", "full", "-o", tmp_path, *FAST,
    )  # fmt: skip
    first = run(*args, "--shard", "1/2")
    assert first.exit_code == 0, first.output
    assert not (tmp_path / "table.csv").exists()
    second = run(*args, "--shard", "2/2")
    assert second.exit_code == 0, second.output
    whole, _ = finished
    both = [table_rows(folder)["full"]["accuracy_mean"] for folder in (tmp_path, whole)]
    assert both[0] == both[1]


def test_blend_is_evaluated_like_any_variant(features: Path, pairs: Path, tmp_path: Path) -> None:
    """The table must say how a blend is trained, and its kept rankers must load."""
    result = run(
        "--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 1, "--variant", "blend",
        "--members", 2, "--keep-rankers", "-o", tmp_path, *FAST, "-j", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "blend: each of its networks leaves one part" in result.output
    assert "too few pairs" not in result.output
    assert float(table_rows(tmp_path)["blend"]["accuracy_mean"]) > 0.85  # chance is .5
    for checkpoint in tmp_path.rglob("checkpoint.safetensors"):
        assert "attention networks" in load_run(checkpoint).cue_note()

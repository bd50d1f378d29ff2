"""The same video under several names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.judgements.pairs import Pair
from data.judgements.splits import joined, k_fold_by_group, k_fold_by_video
from tests.evaluate.material import run
from tests.train_ranker.material import run as run_any


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Eight videos; b7 is a copy of b0."""
    frames = np.arange(4) * 10 + 5
    for number in range(8):
        digest = f"{number % 7:064}"
        header = Header(
            kind="features", source=f"b{number}", source_digest=digest, decoded_frames=40
        )
        path = cache_path(tmp_path / "features", f"b{number}.mp4")
        with create_features(path, header, frames, frames / 25, (6, 2, 2)) as writer:
            for row in range(4):
                writer.put(row, np.full((6, 2, 2), number % 7, np.float32))
    return tmp_path / "features"


def write_pairs(path: Path, names: list[str]) -> Path:
    rows = [f"{a},{b}" for i, a in enumerate(names) for b in names[i + 1 :]]
    path.write_text("\n".join(["better,worse", *rows]) + "\n")
    return path


@pytest.mark.parametrize("seed", range(6))
def test_drawn_folds_keep_copies_together_and_say_so(
    features: Path, tmp_path: Path, seed: int
) -> None:
    """A copy in training gives the test's answer away, and nobody knows."""
    pairs = write_pairs(tmp_path / "p.csv", [f"b{n}" for n in range(8)])
    result = run(
        "--features", features, "--pairs", pairs, "--folds", 4, "--fold-seed", seed,
        "-o", tmp_path / "out", "--dry-run", "--segments", "4",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 video is in the features under several names, e.g. b0.mp4 = b7.mp4" in result.output
    assert "under another name" not in result.output


def test_copies_on_both_sides_of_given_pairs_are_reported(features: Path, tmp_path: Path) -> None:
    """Test pairs that the user made himself would hide the leak."""
    train = write_pairs(tmp_path / "train.csv", ["b0", "b1", "b2", "b3"])
    test = write_pairs(tmp_path / "test.csv", ["b5", "b6", "b7"])
    result = run_any(
        "train-ranker", "--features", features, "--pairs", train, "--test-pairs", test,
        "-o", tmp_path / "run", "--dry-run", "--segments", "4",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 test videos are training videos under another name, e.g. b7.mp4 = b0.mp4" in (
        result.output
    )


@pytest.mark.parametrize("seed", range(6))
def test_validation_keeps_copies_together(features: Path, tmp_path: Path, seed: int) -> None:
    """The epoch would be chosen on videos that are trained on, under another name."""
    pairs = write_pairs(tmp_path / "p.csv", [f"b{n}" for n in range(8)])
    result = run_any(
        "train-ranker", "--features", features, "--pairs", pairs, "-o", tmp_path / "run",
        "--segments", "4", "--hidden-size", "4", "--epochs", "1", "--seed", seed,
        "--protocol", "validation",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "b0.mp4 = b7.mp4: drawn folds and the validation share keep" in result.output
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    trained = {name for pair in record["pairs"]["train"] for name in pair}
    assert ("b0.mp4" in trained) == ("b7.mp4" in trained)


def test_folds_without_copies_are_those_of_before() -> None:
    """Everyone's folds would change."""
    pairs = [Pair(f"s{a % 3}_{a}", f"s{b % 3}_{b}") for a in range(9) for b in range(a + 1, 9)]
    assert k_fold_by_video(pairs, 3, 5, {}) == k_fold_by_video(pairs, 3, 5)
    assert k_fold_by_group(pairs, 3, "s.", 5, {}) == k_fold_by_group(pairs, 3, "s.", 5)


def test_groups_are_joined_through_several_copies() -> None:
    """Copies of two subjects' videos would still share training and test."""
    groups = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c", "d1": "d"}
    same = {"a1": "x", "b1": "x", "b2": "y", "c1": "y"}
    assert joined(groups, same) == {n: "d" if n == "d1" else "a" for n in groups}

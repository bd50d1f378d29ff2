"""What the tests of cross-validation share: caches, judgements and a finished evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result

from tests.evaluate.material import FAST, VIDEOS, run, write_features


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rows = [f"v{a:02},v{b:02}" for a in range(VIDEOS) for b in range(a + 1, VIDEOS)]
    path.write_text("\n".join(["better,worse", *rows]) + "\n")
    return path


@pytest.fixture(scope="session")
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
    result = run(
        "--features", features, "--pairs", pairs, "--folds", 3, "--seeds", 2,
        "--variant", "full", "--variant", "no_att", "--scores", scores, "--boxes", boxes,
        "-o", output, *FAST,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return output, result

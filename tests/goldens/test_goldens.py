"""What users' files and scripts rely on stays: caches, scores, tables and flags of before."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from model.tvl1 import engines
from tests.goldens import material
from tests.goldens.material import GOLDENS, VIDEOS, invoke

exact_flow = pytest.mark.skipif(
    not engines.identity("numba")["opencv"].startswith("5.")
    or engines.identity("numba")["guarantee"] != "bit-identical",
    reason="the goldens hold the flow of OpenCV 5 to the bit, which is not computed here",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a folder with the videos, the weights, the pairs, and copies of the goldens."""
    folder = tmp_path_factory.mktemp("goldens")
    material.write_videos(folder / "videos")
    material.write_pairs(folder / "pairs.csv")
    material.write_weights(folder / "resnet101.pth")
    for name in ("flow", "features", "run"):
        shutil.copytree(GOLDENS / name, folder / name)
    yield folder
    (folder / "resnet101.pth").unlink()  # 90 MB


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.h5")}


@exact_flow
def test_flow_caches_of_before_are_kept(place: Path) -> None:
    """A fingerprint that moves makes every user compute days of flow again."""
    before = content(place / "flow")
    result = invoke("extract-flow", place / "videos", "-o", place / "flow", *material.FLOW)
    assert result.exit_code == 0, result.output
    assert "6 videos, 6 of them already done" in result.output
    assert content(place / "flow") == before


@exact_flow
def test_flow_is_computed_as_before(place: Path, tmp_path: Path) -> None:
    """Other fields under an old fingerprint would mix in one folder."""
    result = invoke("extract-flow", place / "videos", "-o", tmp_path, *material.FLOW)
    assert result.exit_code == 0, result.output
    for name in VIDEOS:
        with (
            h5py.File(tmp_path / f"{name}.h5") as now,
            h5py.File(GOLDENS / f"flow/{name}.h5") as old,
        ):
            for attribute in ("fingerprint", "content_digest", "parameters", "schema"):
                assert now.attrs[attribute] == old.attrs[attribute]


def extract_features(place: Path, output: Path) -> str:
    result = invoke(
        *("extract-features", place / "videos", "--flow", place / "flow", "-o", output),
        *("--rgb-weights", place / "resnet101.pth", *material.FEATURES),
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_feature_caches_of_before_are_kept(place: Path) -> None:
    """The same, for the networks' days."""
    before = content(place / "features")
    assert "6 of them already done" in extract_features(place, place / "features")
    assert content(place / "features") == before


def test_features_are_computed_as_before(place: Path, tmp_path: Path) -> None:
    """Other maps under an old fingerprint would mix in one folder."""
    extract_features(place, tmp_path)
    for name in VIDEOS:
        path = f"{name}.h5"
        with h5py.File(tmp_path / path) as now, h5py.File(GOLDENS / "features" / path) as old:
            for attribute in ("fingerprint", "parameters", "weights", "upstream"):
                assert now.attrs[attribute] == old.attrs[attribute]
            np.testing.assert_array_equal(now["frame_index"], old["frame_index"])
            np.testing.assert_array_equal(now["time"], old["time"])
            # float32 sums in another order, then rounded to float16 (a step is 2 ** -11).
            np.testing.assert_allclose(now["maps"][()], old["maps"][()], rtol=2e-3, atol=1e-3)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_of_before_scores_as_before(place: Path, tmp_path: Path) -> None:
    """Scripts read the columns of scores.csv, and a run of last year must still say the same."""
    table = tmp_path / "scores.csv"
    words = ["--features", place / "features", "--csv", table, "-j", "1", "--device", "cpu"]
    words += ["--rgb-weights", place / "resnet101.pth"]
    result = invoke("score", place / "run", place / "videos", *words)
    assert result.exit_code == 0, result.output
    now, old = rows(table), rows(GOLDENS / "scores.csv")
    assert list(now[0]) == list(old[0])
    assert [row["video"] for row in now] == [row["video"] for row in old]
    for mine, golden in zip(now, old, strict=True):
        for name in ("rank", "of", "percentile", "better", "worse", "note"):
            assert mine[name] == golden[name]
        # Scores differ by the order of float32 sums.
        assert float(mine["score"]) == pytest.approx(float(golden["score"]), abs=1e-4)


def test_training_gives_the_run_of_before(place: Path, tmp_path: Path) -> None:
    """A change of the sampling, the loss or the optimiser shows in the scores of a run."""
    words = [
        "--features",
        place / "features",
        "--pairs",
        place / "pairs.csv",
        *material.SHORT_TRAINING,
    ]
    result = invoke("train-ranker", *words, "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    now = {row["video"]: row for row in rows(tmp_path / "run" / "scores.csv")}
    for golden in rows(GOLDENS / "short_training.csv"):
        mine = now[golden["video"]]
        assert (mine["rank"], mine["percentile"]) == (golden["rank"], golden["percentile"])
        # Processors and versions of PyTorch differ by 2e-5; neighbours are 1e-3 apart.
        assert float(mine["score"]) == pytest.approx(float(golden["score"]), abs=2e-4)


def test_the_table_has_the_form_of_before(place: Path, tmp_path: Path) -> None:
    """People paste table.txt into papers and parse it; its numbers are not looked at here."""
    words = ["--features", place / "features", "--pairs", place / "pairs.csv"]
    result = invoke("evaluate", *words, *material.EVALUATION, "-o", tmp_path / "e")
    assert result.exit_code == 0, result.output

    def form(path: Path) -> str:
        return re.sub(r" *\d+\.\d", " 0", path.read_text(encoding="utf-8"))

    assert form(tmp_path / "e" / "table.txt") == form(GOLDENS / "table.txt")


@pytest.mark.parametrize("kind", ["flow", "features"])
def test_inspect_says_of_a_cache_what_it_said(place: Path, kind: str) -> None:
    """Programs read `inspect --json`."""
    golden = json.loads((GOLDENS / f"inspect_{kind}.json").read_text(encoding="utf-8"))
    assert material.described(place / kind / "person_0.h5") == golden


def test_every_flag_of_before_is_there() -> None:
    """A flag that goes, or a default that changes, breaks scripts: only ever on purpose."""
    golden = json.loads((GOLDENS / "options.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(material.command_options())) == golden

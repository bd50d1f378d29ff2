"""score and explain with lists of other people, and with names like formulas."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from data.judgements.pairs import read_scores
from tests.helpers.scored_material import World, material, pipeline

ONE = ("-j", 1, "--device", "cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return material(tmp_path_factory)


@pytest.mark.slow
def test_missing_entries_fail_alone_and_formulas_become_text(world: World, tmp_path: Path) -> None:
    """One wrong line would stop all scores, and opening scores.csv would compute a name."""
    video = sorted(world.videos.iterdir())[0]
    name = f"=1+1{video.suffix}"
    shutil.copy(video, tmp_path / name)
    shutil.copy(video, tmp_path / f"preview{video.suffix}")
    (tmp_path / "list.txt").write_text(f"gone.avi 1\n{name} 2\npreview{video.suffix}\n")
    more = ("--exclude", "preview*", "-o", tmp_path / "out", *ONE)
    result = pipeline("score", world.run, f"@{tmp_path}/list.txt", *more)
    assert result.exit_code == 1, result.output
    assert "1 of 2 failed" in result.output
    assert "gone.avi" in result.output
    with (tmp_path / "out/scores.csv").open(newline="", encoding="utf-8") as file:
        videos = {row["video"] for row in csv.DictReader(file)}
    assert f"'{name}" in videos
    assert f"preview{video.suffix}" not in videos
    assert name in read_scores(tmp_path / "out/scores.csv")
    result = pipeline("explain", world.run, f"@{tmp_path}/list.txt", *more, "--no-film")
    assert result.exit_code == 1, result.output
    assert "1 of 2 failed" in result.output

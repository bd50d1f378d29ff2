"""judge --run: the page asks for the pairs on which a run is least sure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.scored_material import World, done, material, pipeline, write_new
from tests.judge.test_judge import told


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return material(tmp_path_factory)


def given(world: World) -> tuple[object, ...]:
    places = ("--features", world.features, "--flow", world.flow, "--cache", world.cache)
    return (*places, "-j", 1, "--device", "cpu")


def test_only_pairs_that_the_run_was_not_trained_on_are_asked_for(
    world: World, tmp_path: Path
) -> None:
    """An expert's time goes into pairs that have been judged."""
    output = tmp_path / "judge"
    result = done("judge", world.videos, "-o", output, "--run", world.run, *given(world))
    assert "4 videos: about 1 comparison a judge, 1 pair" in result.stdout
    content = told(output / "index.html")
    (pair,) = content["plan"]
    assert [content["videos"][number]["name"] for number in pair] == ["b.mp4", "d.mp4"]
    assert not (output / "cache").exists()


def test_the_nearest_scores_come_first(world: World, tmp_path: Path) -> None:
    """Pairs that the run has long decided teach it nothing."""
    new = write_new(tmp_path, "portrait.mp4")
    table = tmp_path / "scores.csv"
    videos = (world.videos, new)
    done("score", world.run, *videos, "--csv", table, *given(world))
    rows = [line.split(",") for line in table.read_text().splitlines()]
    column = rows[0].index("score")
    scores = {row[0]: float(row[column]) for row in rows[1:]}
    words = ("--run", world.run, "--pairs", 2, "--repeat-every", 0)
    done("judge", *videos, "-o", tmp_path / "judge", *words, *given(world))
    content = told(tmp_path / "judge" / "index.html")
    names = [video["name"] for video in content["videos"]]
    first = content["plan"][0]
    open_pairs = [("b.mp4", "d.mp4"), *((name, "portrait.mp4") for name in names[:4])]
    nearest = min(open_pairs, key=lambda pair: abs(scores[pair[0]] - scores[pair[1]]))
    assert {names[number] for number in first} == set(nearest)


def test_a_run_with_nothing_left_to_ask_says_so(world: World, tmp_path: Path) -> None:
    """An empty page would be handed to an expert."""
    videos = (world.videos / "a.mp4", world.videos / "b.mp4")
    words = ("--run", world.run, *given(world))
    result = pipeline("judge", *videos, "-o", tmp_path / "judge", *words)
    assert result.exit_code == 2
    assert "all pairs of these videos are among its judgements" in result.stderr
    assert not (tmp_path / "judge" / "index.html").exists()

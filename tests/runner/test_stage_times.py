"""Stages record how long they took beside their caches, and the report adds it up."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pipeline.runner.stage_times import FILE_NAME, recorded, total


def test_runs_of_a_stage_add_up(tmp_path: Path) -> None:
    """A set is computed in several runs and shards: the last one alone would be far too little."""
    for seconds in (60, 40):
        with (tmp_path / FILE_NAME).open("a") as file:
            file.write(f'{{"stage": "extract-flow", "videos": 2, "seconds": {seconds}}}\n')
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write('{"stage": "extract-features", "videos": 2, "seconds": 7}\n{"stage": "extr')
    assert total(tmp_path, "extract-flow") == 100
    assert total(tmp_path, "extract-features") == 7
    assert total(tmp_path / "nowhere", "extract-flow") is None
    assert total(tmp_path, "train-ranker") is None


def test_an_interrupted_run_counts_and_an_idle_one_does_not(tmp_path: Path) -> None:
    """Work before Ctrl-C was done; looking at finished caches must not add lines for ever."""
    with recorded(tmp_path, "extract-flow"):
        pass
    assert not (tmp_path / FILE_NAME).exists()
    with suppress(KeyboardInterrupt), recorded(tmp_path, "extract-flow") as work:
        work.videos = 3
        raise KeyboardInterrupt
    assert total(tmp_path, "extract-flow") is not None

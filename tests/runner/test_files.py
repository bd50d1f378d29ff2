"""Result files: whole or absent, and what is written is what can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data.judgements.pairs import read_scores
from data.names import match_names
from pipeline.runner.files import read_safetensors, write_csv, write_safetensors

STATE = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.bias": torch.ones(2)}


def test_own_files_keep_tensors_and_metadata(tmp_path: Path) -> None:
    """Sizes and options travel inside the file; a failed write leaves nothing behind."""
    path = tmp_path / "new" / "own.safetensors"
    write_safetensors(path, STATE, {"seed": 3, "sizes": {"hidden": [1, 2]}})
    tensors, metadata = read_safetensors(path)
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(tensors[name], STATE[name]) for name in STATE)
    assert metadata == {"seed": 3, "sizes": {"hidden": [1, 2]}}
    assert [p.name for p in path.parent.iterdir()] == ["own.safetensors"]


def test_the_first_of_two_writers_wins_where_asked(tmp_path: Path) -> None:
    """Two shards must end with one stage one, or their caches would not belong together."""
    path = tmp_path / "shared.safetensors"
    write_safetensors(path, STATE, {"writer": 1}, replace=False)
    with pytest.raises(FileExistsError):
        write_safetensors(path, STATE, {"writer": 2}, replace=False)
    assert read_safetensors(path)[1] == {"writer": 1}
    write_safetensors(path, STATE, {"writer": 3})
    assert read_safetensors(path)[1] == {"writer": 3}
    assert len(list(tmp_path.iterdir())) == 1


def test_names_like_formulas_are_text_in_spreadsheets_and_match_again(tmp_path: Path) -> None:
    """Opening scores.csv would compute a name, or our own table would no longer fit our caches."""
    name, path = "=HYPERLINK(1).mp4", tmp_path / "scores.csv"
    rows = [(name, "-0.5", -1), ("b", "-1e-05", 2)]
    write_csv(path, [dict(zip(("video", "score", "rank"), row, strict=True)) for row in rows])
    assert path.read_text() == "video,score,rank\n'=HYPERLINK(1).mp4,-0.5,-1\nb,-1e-05,2\n"
    assert match_names(read_scores(path), [name, "b.mp4"]).keys == {name: name, "b": "b.mp4"}

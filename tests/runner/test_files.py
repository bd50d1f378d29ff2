"""Result files: whole or absent, and what is written is what can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.runner.files import read_safetensors, write_safetensors

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

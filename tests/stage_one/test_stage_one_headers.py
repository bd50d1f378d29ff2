"""Files of stage one and fusion checkpoints are checked before anything is built from them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from data.errors import InputError
from model.features.fusion import random_fusion
from model.features.options import FusionOptions, TrunkOptions
from pipeline.cli import cli
from pipeline.runner.files import write_safetensors
from pipeline.stage_one.file import FILE_NAME, load_digests
from pipeline.stage_one.fusion import fusion_checkpoint, restore_fusion
from pipeline.stage_one.header import FUSION_FORMAT, STAGE_ONE_FORMAT
from pipeline.stage_one.networks import NetworkSettings

DIGESTS = {name: name[0] * 64 for name in ("rgb", "flow", "fusion")}
SETTINGS = NetworkSettings(
    trunk=TrunkOptions(weights="random"),
    fusion=FusionOptions(fusion_hidden=4, fusion_channels=2),
    stack_length=3,
    precision="float32",
)
FUSION = random_fusion(8, 4, 2, seed=0).state_dict()


def altered(metadata: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """Set one value by its path with dots; "" removes it."""
    group, _, name = place.rpartition(".")
    target = metadata[group] if group else metadata
    if value == "":
        del target[name]
    else:
        target[name] = value
    return metadata


def refused(path: Path, said: str) -> None:
    """`inspect` calls a file damaged, in one line."""
    result = CliRunner().invoke(cli, ["inspect", str(path)])
    assert result.exit_code == 1, result.output
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 2, result.stderr


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("trunk", None),
        ("trunk", {"nonsense": 1}),
        ("trunk.input_size", 10**9),
        ("trunk.input_size", 64.5),
        ("trunk.weights", ["random"]),
        ("fusion.fusion_channels", 0),
        ("stack_length", 10**12),
        ("stack_length", ""),
        ("precision", 16),
        ("seed", 2**80),
        ("seed", "0"),
        ("weights", {"rgb": "r"}),
        ("weights", {"rgb": 1, "flow": 2, "fusion": 3}),
        ("training_videos", "all"),
    ],
)
def test_odd_headers_of_stage_one_are_refused(tmp_path: Path, place: str, value: Any) -> None:
    """Such a file, passed on or damaged, ended with an unexpected error or took all memory."""
    sound = {"format": STAGE_ONE_FORMAT, **asdict(SETTINGS), "weights": dict(DIGESTS)}
    path = tmp_path / FILE_NAME
    write_safetensors(path, FUSION, sound)
    assert load_digests(tmp_path) == DIGESTS
    write_safetensors(path, FUSION, altered(sound, place, value))
    with pytest.raises(InputError, match="its header is damaged") as caught:
        load_digests(tmp_path)
    assert str(path) in str(caught.value)
    refused(path, "its header is damaged")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("trunks", None),
        ("trunks", {"rgb": 3, "flow": 4}),
        ("trunks.flow", ""),
        ("history", 5),
        ("best_epoch", -1),
        ("training_videos", [1]),
        ("ranker", "full"),
    ],
)
def test_odd_headers_of_fusion_checkpoints_are_refused(
    tmp_path: Path, place: str, value: Any
) -> None:
    """`extract-features --fusion` ended with an unexpected error."""
    sound = {"format": FUSION_FORMAT, "trunks": {k: DIGESTS[k] for k in ("rgb", "flow")}}
    path = tmp_path / "fusion.safetensors"
    write_safetensors(path, FUSION, sound)
    fusion = fusion_checkpoint(path, DIGESTS)
    assert all(torch.equal(fusion.state_dict()[name], FUSION[name]) for name in FUSION)
    write_safetensors(path, FUSION, altered(sound, place, value))
    with pytest.raises(InputError, match="its header is damaged"):
        fusion_checkpoint(path, DIGESTS)
    refused(path, "its header is damaged")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reduce.weight", torch.zeros(100_000_000, 2, 0, 0)),
        ("reduce.weight", torch.zeros(4)),
        ("reduce.weight", torch.zeros(4, 16, 2, 2, dtype=torch.float64)),
        ("project.weight", torch.full((2, 4, 1, 1), float("nan"))),
        ("project.weight", torch.zeros(70_000, 1, 1, 1)),
        ("project.other", torch.zeros(1)),
    ],
)
def test_odd_tensors_of_a_fusion_are_refused(name: str, value: torch.Tensor) -> None:
    """A module of the size that a header claims is built first, and takes all memory."""
    with pytest.raises(InputError, match="the fusion's tensors are damaged"):
        restore_fusion(Path("f.safetensors"), {**FUSION, name: value})

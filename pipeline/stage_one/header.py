"""What a stage-one file and a fusion checkpoint say of themselves, checked before they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import InputError
from model.features.options import FusionOptions, TrunkOptions
from pipeline.runner.schema import (
    DAMAGE,
    LONGEST,
    damage,
    expect,
    is_int,
    is_list,
    is_text,
    read_options,
)

STAGE_ONE_FORMAT = "dexterank stage one 1"
FUSION_FORMAT = "dexterank fusion 1"


def check_stage_one(path: Path, metadata: Mapping[str, Any]) -> None:
    """Refuse a stage-one file of another format, or whose metadata are not as they are written.

    Raises
    ------
    InputError
        Names the file and the value.
    """
    if metadata.get("format") != STAGE_ONE_FORMAT:
        raise InputError(f"{path}: not a stage-one file of this version")
    try:
        trunk = read_options(TrunkOptions, metadata["trunk"])
        fusion = read_options(FusionOptions, metadata["fusion"])
        for name, value in (
            ("input_size", trunk.input_size),
            ("fusion_hidden", fusion.fusion_hidden),
            ("fusion_channels", fusion.fusion_channels),
            ("stack_length", metadata["stack_length"]),
        ):
            expect(name, value, is_int(value, 1, LONGEST))
        weights, seed = metadata["weights"], metadata["seed"]
        digests = isinstance(weights, dict) and is_list(list(weights.values()), is_text)
        expect("weights", weights, digests and set(weights) == {"rgb", "flow", "fusion"})
        expect("seed", seed, is_int(seed, -(2**63), 2**64))
        expect("precision", metadata["precision"], is_text(metadata["precision"]))
        videos = metadata.get("training_videos", [])
        expect("training_videos", videos, is_list(videos, is_text))
    except DAMAGE as error:
        raise InputError(f"{path}: {damage(error)}") from error


def check_fusion_checkpoint(path: Path, metadata: Mapping[str, Any]) -> None:
    """Refuse metadata that fit-fusion does not write.

    Raises
    ------
    InputError
        Names the file and the value.
    """
    if metadata.get("format") != FUSION_FORMAT:
        raise InputError(f"{path}: not a fusion checkpoint; `pipeline fit-fusion` makes one")
    try:
        trunks = metadata["trunks"]
        digests = isinstance(trunks, dict) and is_list(list(trunks.values()), is_text)
        expect("trunks", trunks, digests and {"rgb", "flow"} <= set(trunks))
        for name, kind in (
            *(("parameters", dict), ("ranker", dict), ("train", dict)),
            ("history", list),
        ):
            value = metadata.get(name, kind())
            expect(name, value, isinstance(value, kind))
        videos = metadata.get("training_videos", [])
        expect("training_videos", videos, is_list(videos, is_text))
        for name, low in (("seed", -(2**63)), ("best_epoch", 0)):
            value = metadata.get(name, 0)
            expect(name, value, is_int(value, low, 2**64))
    except DAMAGE as error:
        raise InputError(f"{path}: {damage(error)}") from error

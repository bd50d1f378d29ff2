"""Stage one's weights: built once for a features folder, kept beside its caches, loaded again.

`stage_one.safetensors` holds the fusion, the BatchNorm statistics of random trunks, and, as JSON,
every option, the seed and the digests. Trunks that came from a file or from torchvision are read
from there again and checked by digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError, StaleCacheError
from model.features.options import FusionOptions, TrunkOptions
from pipeline.runner.files import read_safetensors, write_safetensors
from pipeline.stage_one.networks import (
    DRAWN,
    calibrate_random,
    fusion_checkpoint,
    fusion_from,
    make,
    make_fusion,
    needs_training_snippets,
    origins,
    read_checkpoint,
    trunk_states,
)
from pipeline.stage_one.setup import StageOneSetup, assemble, map_shape, stream_shape

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "FILE_NAME",
    "StageOneSetup",
    "load_fusion",
    "load_stage_one",
    "map_shape",
    "prepare_stage_one",
    "stream_shape",
]

FILE_NAME = "stage_one.safetensors"
_FORMAT = "dexterank stage one 1"
_STATISTICS = ("running_mean", "running_var")  # All that is fitted in a random trunk.

# Gives the training snippets, (N, 3, S, S) and (N, 2L, S, S) uint8, and says where they are from.
TrainingSnippets = Callable[[], "tuple[Tensor, Tensor, list[str]]"]


def prepare_stage_one(
    output: Path,
    trunk: TrunkOptions,
    fusion: FusionOptions,
    stack_length: int,
    precision: str,
    seed: int,
    snippets: TrainingSnippets,
    overwrite: bool = False,
) -> StageOneSetup:
    """Return the folder's stage one: the one kept there, or a new one that is then kept there.

    Raises
    ------
    StaleCacheError
        The one kept there was made with other options, weights or seed.
    InputError
        Weights are missing or do not fit.
    """
    map_shape(trunk, fusion)
    path = output / FILE_NAME
    if path.exists() and not overwrite:
        return _reuse(path, trunk, fusion, stack_length, precision, seed)
    if fusion.fusion == "pca" and trunk.training_videos is None:
        raise InputError(
            "--fusion pca is fitted on training videos only; name them with --training-videos"
        )
    if fusion.fusion not in DRAWN:
        read_checkpoint(Path(fusion.fusion))  # Before anything is computed.
    states = trunk_states(trunk, stack_length, seed)
    trunks = {name: make(name, trunk, stack_length, state) for name, state in states.items()}
    random = [name for name, origin in origins(trunk).items() if origin == "random"]
    data: tuple[Tensor, Tensor] | None = None
    keys: list[str] = []
    if needs_training_snippets(trunk, fusion):
        frames, stacks, keys = snippets()
        data = (frames, stacks)
        if random:
            calibrate_random(trunks, random, frames, stacks, seed)
    module = make_fusion(trunks, trunk, fusion, seed, data)
    setup = assemble(trunks, module, trunk, fusion, stack_length, precision, seed)
    try:
        _save(path, setup, keys, overwrite)
    except FileExistsError:  # Another shard was faster: its statistics are everybody's.
        return _reuse(path, trunk, fusion, stack_length, precision, seed)
    return setup


def load_stage_one(
    folder: str | Path, *, rgb_weights: str | None = None, flow_weights: str | None = None
) -> StageOneSetup:
    """Load the stage one that a features folder was made with.

    Parameters
    ----------
    folder : path
        Features folder, or any folder that holds a copy of its `stage_one.safetensors`.
    rgb_weights, flow_weights : str, optional
        Where the trunks' weight files lie now, if they were moved.

    Raises
    ------
    InputError
        Missing or damaged file; trunk weights that cannot be found or are others than those used.
    """
    path = _there(folder)
    tensors, metadata = _read(path)
    trunk = TrunkOptions(**metadata["trunk"])
    trunk = replace(
        trunk,
        rgb_weights=rgb_weights or trunk.rgb_weights,
        flow_weights=flow_weights or trunk.flow_weights,
    )
    return _restore(path, tensors, metadata, trunk, FusionOptions(**metadata["fusion"]))


def load_fusion(folder: str | Path) -> tuple[nn.Module, dict[str, str]]:
    """Load only the fusion of a features folder, and the digests of all its weights.

    Raises
    ------
    InputError
        As `load_stage_one`.
    """
    path = _there(folder)
    tensors, metadata = _read(path)
    return fusion_from(path, _under("fusion.", tensors)), metadata["weights"]


def _there(folder: str | Path) -> Path:
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise InputError(
            f"{path}: not found; it is written by `pipeline extract-features` beside its caches"
        )
    return path


def _reuse(
    path: Path,
    trunk: TrunkOptions,
    fusion: FusionOptions,
    stack_length: int,
    precision: str,
    seed: int,
) -> StageOneSetup:
    from model.features.trunk import state_digest

    tensors, metadata = _read(path)
    stored = (TrunkOptions(**metadata["trunk"]), FusionOptions(**metadata["fusion"]))
    found = identity(*stored, metadata["stack_length"], metadata["precision"], metadata["seed"])
    wanted = identity(trunk, fusion, stack_length, precision, seed)
    if trunk.training_videos is None:  # The folder may have grown since; what was fitted stays.
        wanted["training_videos"] = found["training_videos"]
    differences = [
        f"{name.replace('_', ' ')} {found[name]}, you asked {wanted[name]}"
        for name in wanted
        if found[name] != wanted[name]
    ]
    if differences:
        raise _stale(path, differences)
    setup = _restore(path, tensors, metadata, trunk, fusion)
    moved = fusion.fusion == stored[1].fusion and not Path(fusion.fusion).exists()
    if fusion.fusion not in DRAWN and not moved:
        asked = fusion_checkpoint(Path(fusion.fusion), trunk, setup.weights)
        if state_digest(asked.state_dict()) != setup.weights["fusion"]:
            raise _stale(path, ["another fusion checkpoint than the one given"])
    return setup


def _stale(path: Path, differences: list[str]) -> StaleCacheError:
    return StaleCacheError(
        f"{path}: was made with {'; '.join(differences)}; pass --overwrite or another --output"
    )


def identity(
    trunk: TrunkOptions, fusion: FusionOptions, stack_length: int, precision: str, seed: int
) -> dict[str, object]:
    """Options that stage one depends on, and no others; files count by their content later."""
    starts = {k: v if v in ("random", "imagenet") else "a file" for k, v in origins(trunk).items()}
    kind = fusion.fusion if fusion.fusion in DRAWN else "a checkpoint"
    drawn = "random" in starts.values() or kind == "random"
    fitted = needs_training_snippets(trunk, fusion)
    return {
        "rgb_weights": starts["rgb"],
        "flow_weights": starts["flow"],
        "trunk_stage": trunk.trunk_stage,
        "input_size": trunk.input_size,
        "precision": precision,
        "stack_length": stack_length,
        "fusion": kind,
        "fusion_hidden": fusion.fusion_hidden if kind == "random" else None,
        "fusion_channels": fusion.fusion_channels if kind != "a checkpoint" else None,
        "training_videos": trunk.training_videos if fitted else None,
        "training_snippets": trunk.training_snippets if fitted else None,
        "seed": seed if drawn else None,
    }


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") != _FORMAT:
        raise InputError(f"{path}: not a stage-one file of this version")
    return tensors, metadata


def _restore(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    trunk: TrunkOptions,
    fusion: FusionOptions,
) -> StageOneSetup:
    """Put a stored stage one together again; its weights must have the stored digests."""
    length, seed = metadata["stack_length"], metadata["seed"]
    states = trunk_states(trunk, length, seed)
    trunks = {
        name: make(name, trunk, length, {**state, **_under(f"{name}.", tensors)})
        for name, state in states.items()
    }
    module = fusion_from(path, _under("fusion.", tensors))
    setup = assemble(trunks, module, trunk, fusion, length, metadata["precision"], seed)
    for name, digest in metadata["weights"].items():
        if setup.weights[name] != digest:
            source = origins(trunk).get(name, str(path))
            raise StaleCacheError(
                f"{path}: was made with {name} weights {digest[:8]}, those of {source} are "
                f"{setup.weights[name][:8]}; pass --overwrite or another --output"
            )
    return setup


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _save(path: Path, setup: StageOneSetup, keys: list[str], overwrite: bool) -> None:
    """Write the folder's stage-one file; whole trunks are left to their own files."""
    state = setup.module.state_dict()
    random = [f"{k}." for k, origin in origins(setup.trunk).items() if origin == "random"]
    fitted = {
        name: value
        for name, value in state.items()
        if name.startswith("fusion.")
        or (name.startswith(tuple(random)) and name.endswith(_STATISTICS))
    }
    metadata = {
        "format": _FORMAT,
        "trunk": asdict(setup.trunk),
        "fusion": asdict(setup.fusion),
        "stack_length": setup.stack_length,
        "precision": setup.precision,
        "seed": setup.seed,
        "weights": setup.weights,
        "training_videos": keys,
    }
    write_safetensors(path, fitted, metadata, replace=overwrite)

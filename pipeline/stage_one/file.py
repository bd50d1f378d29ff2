"""Stage one's weights: built once for a features folder, kept next to its caches, loaded again.

`stage_one.safetensors` holds the fusion, the BatchNorm statistics of calibrated trunks, and, as
JSON, every option, the seed and the digests. Trunks from a file or from torchvision are read from
there again and checked by digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError, StaleCacheError
from model.features.options import NONE, FusionOptions
from pipeline.runner.files import read_safetensors, write_safetensors
from pipeline.stage_one.fusion import (
    check_fusion,
    fusion_checkpoint,
    make_fusion,
    read_checkpoint,
    restore_fusion,
)
from pipeline.stage_one.header import STAGE_ONE_FORMAT, check_stage_one
from pipeline.stage_one.networks import (
    Networks,
    NetworkSettings,
    assemble,
    calibrate_trunks,
    make_trunks,
    part_of,
    trunk_states,
)
from pipeline.stage_one.origins import (
    OWN_FUSIONS,
    adapted_parts,
    needs_training_snippets,
    origins,
    resolved,
    stored_trunk,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

FILE_NAME = "stage_one.safetensors"
_STATISTICS = ("running_mean", "running_var")  # All that is fitted in a trunk.

#: Gives the training snippets, (N, 3, S, S) and (N, 2L, S, S) uint8, and the keys of their videos.
TrainingSnippets = Callable[[], "tuple[Tensor, Tensor, list[str]]"]


def prepare_stage_one(
    output: Path, settings: NetworkSettings, snippets: TrainingSnippets, overwrite: bool = False
) -> Networks:
    """Load the folder's stage one, or build one and keep it there.

    Raises
    ------
    StaleCacheError
        The folder's stage one was made with other options, weights or seed.
    InputError
        Weights are missing or do not fit.
    """
    _ = settings.map_shape  # Refuse an input that is too small before anything is computed.
    path = output / FILE_NAME
    if path.exists() and not overwrite:
        return _reuse(path, settings)
    networks, keys = _build(settings, snippets)
    try:
        _save(path, networks, keys, overwrite)
    except FileExistsError:  # Another shard was faster: all shards use its statistics.
        return _reuse(path, settings)
    return networks


def load_stage_one(
    folder: str | Path, *, rgb_weights: str | None = None, flow_weights: str | None = None
) -> Networks:
    """Load the stage one that a features folder was made with.

    Parameters
    ----------
    folder : path
        Features folder, or any folder that holds a copy of its `stage_one.safetensors`.
    rgb_weights, flow_weights : str, optional
        Where the trunks' weight files are now, if they were moved.

    Raises
    ------
    InputError
        Missing or damaged file; trunk weights that cannot be found or are others than those used.
    """
    path, tensors, metadata = _read(folder)
    trunk = stored_trunk(metadata["trunk"])
    trunk = replace(
        trunk,
        rgb_weights=rgb_weights or trunk.rgb_weights,
        flow_weights=flow_weights or trunk.flow_weights,
    )
    return _restore(path, tensors, metadata, replace(_settings(metadata), trunk=trunk))


def load_fusion(folder: str | Path) -> tuple[nn.Module, dict[str, str]]:
    """Load only the fusion of a features folder, and the digests of all its weights.

    Raises
    ------
    InputError
        As `load_stage_one`.
    """
    path, tensors, metadata = _read(folder)
    return restore_fusion(path, part_of("fusion.", tensors)), metadata["weights"]


def load_statistics(folder: str | Path) -> dict[str, Tensor]:
    """Load only the BatchNorm statistics of calibrated trunks ("flow.bn1.running_mean" …).

    Raises
    ------
    InputError
        As `load_stage_one`.
    """
    return _statistics(_read(folder)[1])


def _statistics(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name.endswith(_STATISTICS)}


def load_digests(folder: str | Path) -> dict[str, str]:
    """Load only the digests of a features folder's weights; InputError as `load_stage_one`."""
    digests: dict[str, str] = _read(folder)[2]["weights"]
    return digests


def _build(settings: NetworkSettings, snippets: TrainingSnippets) -> tuple[Networks, list[str]]:
    """Build stage one; also return the keys of the videos that anything was fitted on."""
    trunk, fusion = settings.trunk, settings.fusion
    check_fusion(settings)
    statistics: dict[str, Tensor] = {}
    if fusion.fusion not in OWN_FUSIONS:
        statistics = _statistics(read_checkpoint(Path(fusion.fusion))[0])
    trunks = make_trunks(trunk_states(settings), settings, statistics)
    data: tuple[Tensor, Tensor] | None = None
    keys: list[str] = []
    # A fusion was learnt on trunks with the statistics that its checkpoint holds.
    if needs_training_snippets(trunk, fusion) and not statistics:
        frames, stacks, keys = snippets()
        data = (frames, stacks)
        if settings.calibrated_trunks:
            calibrate_trunks(trunks, settings, frames, stacks)
    return assemble(trunks, make_fusion(trunks, settings, data), settings), keys


def _reuse(path: Path, settings: NetworkSettings) -> Networks:
    """Load the folder's stage one if it is the one that these settings give."""
    from model.features.trunk import state_digest

    path, tensors, metadata = _read(path.parent)
    stored = _settings(metadata)
    before, now = _identity(stored), _identity(settings)
    if settings.trunk.training_videos is None:  # The folder may have grown; the fit stays.
        now["training_videos"] = before["training_videos"]
    if None in (before["training_snippets"], now["training_snippets"]):  # Only one was fitted.
        now |= {name: before[name] for name in ("training_videos", "training_snippets")}
    differences = [
        f"{name.replace('_', ' ')} {before[name]}, you asked {now[name]}"
        for name in now
        if before[name] != now[name]
    ]
    if differences:
        hint = ""
        if len(differences) == 1 and before["adapt_flow"] != now["adapt_flow"]:
            hint = f" (--adapt-flow {before['adapt_flow']} goes on with it)"
        raise _stale(path, differences, hint)
    networks = _restore(path, tensors, metadata, settings)
    fusion = settings.fusion.fusion
    moved = fusion == stored.fusion.fusion and not Path(fusion).exists()
    if fusion not in OWN_FUSIONS and not moved:
        checkpoint = fusion_checkpoint(Path(fusion), networks.weights)
        if state_digest(checkpoint.state_dict()) != networks.weights["fusion"]:
            raise _stale(path, ["another fusion checkpoint than the one given"])
    return networks


def _stale(path: Path, differences: list[str], hint: str = "") -> StaleCacheError:
    return StaleCacheError(
        f"{path}: was made with {'; '.join(differences)}{hint}; pass --overwrite or another "
        "--output"
    )


def _identity(settings: NetworkSettings) -> dict[str, object]:
    """Options that stage one depends on, and no others; files count by their digests later."""
    trunk, fusion = settings.trunk, settings.fusion
    starts = {k: v if v in ("random", "imagenet") else "a file" for k, v in origins(trunk).items()}
    kind = fusion.fusion if fusion.fusion in OWN_FUSIONS else "a checkpoint"
    drawn = bool(settings.random_trunks) or kind == "random"
    fitted = needs_training_snippets(trunk, fusion)
    return {
        "rgb_weights": starts["rgb"],
        "flow_weights": starts["flow"],
        "adapt_flow": ",".join(adapted_parts(trunk)) or NONE,
        "trunk_stage": trunk.trunk_stage,
        "input_size": trunk.input_size,
        "precision": settings.precision,
        "stack_length": settings.stack_length,
        "fusion": kind,
        "fusion_hidden": fusion.fusion_hidden if kind == "random" else None,
        "fusion_channels": fusion.fusion_channels if kind != "a checkpoint" else None,
        "training_videos": trunk.training_videos if fitted else None,
        "training_snippets": trunk.training_snippets if fitted else None,
        "seed": settings.seed if drawn else None,
    }


def _read(folder: str | Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """Read a folder's stage-one file: its path, tensors and metadata."""
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise InputError(
            f"{path}: not found; it is written by `pipeline extract-features` next to its caches"
        )
    tensors, metadata = read_safetensors(path)
    check_stage_one(path, metadata)
    return path, tensors, metadata


def _settings(metadata: Mapping[str, Any]) -> NetworkSettings:
    return NetworkSettings(
        trunk=stored_trunk(metadata["trunk"]),
        fusion=FusionOptions(**metadata["fusion"]),
        stack_length=metadata["stack_length"],
        precision=metadata["precision"],
        seed=metadata["seed"],
    )


def _restore(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    settings: NetworkSettings,
) -> Networks:
    """Rebuild a stored stage one; its weights must have the stored digests."""
    # Random trunks were drawn with the stored seed, whichever seed is asked for now.
    settings = replace(settings, seed=metadata["seed"])
    fusion = restore_fusion(path, part_of("fusion.", tensors))
    trunks = make_trunks(trunk_states(settings), settings, _statistics(tensors))
    networks = assemble(trunks, fusion, settings)
    for name, digest in metadata["weights"].items():
        if networks.weights[name] != digest:
            origin = origins(settings.trunk).get(name, str(path))
            raise StaleCacheError(
                f"{path}: was made with {name} weights {digest[:8]}, those of {origin} are "
                f"{networks.weights[name][:8]}; pass --overwrite or another --output"
            )
    return networks


def _save(path: Path, networks: Networks, keys: list[str], overwrite: bool) -> None:
    """Write the folder's stage-one file; trunks from files or torchvision are left out."""
    settings = networks.settings
    settings = replace(settings, trunk=resolved(settings.trunk))
    calibrated = tuple(f"{name}." for name in settings.calibrated_trunks)
    tensors = {
        name: value
        for name, value in networks.module.state_dict().items()
        if name.startswith("fusion.")
        or (name.startswith(calibrated) and name.endswith(_STATISTICS))
    }
    metadata = {
        "format": STAGE_ONE_FORMAT,
        **asdict(settings),
        "weights": networks.weights,
        "training_videos": keys,
    }
    write_safetensors(path, tensors, metadata, replace=overwrite)

"""The frozen fusion of stage one: drawn, fitted by PCA, or learnt by fit-fusion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from pipeline.runner.files import read_safetensors
from pipeline.stage_one.header import check_fusion_checkpoint
from pipeline.stage_one.origins import OWN_FUSIONS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from model.features.trunk import Trunk
    from pipeline.stage_one.networks import NetworkSettings


def check_fusion(settings: NetworkSettings) -> None:
    """Refuse a fusion without its checkpoint, or without the videos that it is fitted on."""
    fusion, videos = settings.fusion.fusion, settings.trunk.training_videos
    if fusion == "pca" and videos is None:
        raise InputError(
            "--fusion pca is fitted on training videos only; name them with --training-videos"
        )
    if fusion not in OWN_FUSIONS:
        read_checkpoint(Path(fusion))


def make_fusion(
    trunks: Mapping[str, Trunk], settings: NetworkSettings, snippets: tuple[Tensor, Tensor] | None
) -> nn.Module:
    """Build the fusion; `snippets` are training frames and stacks, for PCA."""
    from model.features.fusion import random_fusion
    from model.features.trunk import CHANNELS, state_digest

    options = settings.fusion
    if options.fusion == "random":
        channels = CHANNELS[settings.trunk.trunk_stage]
        return random_fusion(
            channels, options.fusion_hidden, options.fusion_channels, settings.seed
        )
    if options.fusion == "pca" and snippets is not None:
        return _fit_pca(trunks, options.fusion_channels, *snippets)
    digests = {name: state_digest(module.state_dict()) for name, module in trunks.items()}
    return fusion_checkpoint(Path(options.fusion), digests)


def _fit_pca(
    trunks: Mapping[str, Trunk], channels: int, frames: Tensor, stacks: Tensor
) -> nn.Module:
    import torch

    from model.features.pca import fit_pca, stream_vectors
    from model.features.stage_one import StageOne, for_inference

    stage = StageOne(trunks["rgb"], trunks["flow"], torch.nn.Identity())
    fast = for_inference(stage, torch.device("cpu"), torch.float32)
    vectors = []
    with torch.inference_mode():
        for some, others in zip(frames.split(4), stacks.split(4), strict=True):
            rgb = fast.rgb(fast.normalise_frames(some))
            flow = fast.flow(fast.normalise_stacks(others))
            vectors.append(stream_vectors(rgb, flow))
    try:
        return fit_pca(torch.cat(vectors), channels)
    except ValueError as error:
        raise InputError(f"--fusion pca: {error}") from error


def fusion_checkpoint(path: Path, digests: Mapping[str, str]) -> nn.Module:
    """Load a checkpoint of fit-fusion that was learnt on trunks with these digests.

    Raises
    ------
    InputError
        Not such a file, damaged, or learnt on other trunks.
    """
    tensors, metadata = read_checkpoint(path)
    trunks: Any = metadata["trunks"]
    for name in ("rgb", "flow"):
        digest = trunks[name]
        if digest != digests[name]:
            raise InputError(
                f"{path}: this fusion was learnt on other {name} trunk weights ({digest[:8]}) than "
                f"those in use ({digests[name][:8]}); use the same weights, seed, "
                "--trunk-stage, --stack-length and --adapt-flow"
            )
    return restore_fusion(path, tensors)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read a checkpoint of fit-fusion: tensors and metadata.

    Raises
    ------
    InputError
        Not such a file, or damaged.
    """
    if not path.is_file():
        raise InputError(f"--fusion {path}: expected random, pca, or a checkpoint; no such file")
    tensors, metadata = read_safetensors(path)
    check_fusion_checkpoint(path, metadata)
    return tensors, metadata


def restore_fusion(path: Path, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build a fusion around its tensors: ConvFusion, or PCA's projection without `reduce`.

    Raises
    ------
    InputError
        Tensors are missing or misshapen; names the file `path`.
    """
    import torch

    from model.features.fusion import ConvFusion
    from model.features.pca import PcaFusion

    fusion: nn.Module
    parts = ("reduce.", "project.")  # Beside them lie statistics of the trunks.
    # Copies: where a tensor lies in memory decides the order of sums, and so the last bits.
    own = {name: value.clone() for name, value in tensors.items() if name.startswith(parts)}
    try:
        _check_tensors(own)
        project = own["project.weight"]
        with torch.device("meta"):  # Only shapes, however large the tensors say that they are.
            if "reduce.weight" in own:
                reduce = own["reduce.weight"]
                fusion = ConvFusion(reduce.shape[1] // 2, reduce.shape[0], project.shape[0])
            else:
                fusion = PcaFusion(project.shape[1] // 2, project.shape[0])
        fusion.load_state_dict(own, assign=True)
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: the fusion's tensors are damaged ({error})") from error
    return fusion.requires_grad_(False)


def _check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Refuse numbers of another type, none at all, or none that are finite, with a ValueError."""
    import torch

    for name, value in tensors.items():
        if value.dtype != torch.float32:
            raise ValueError(f"{name} holds {value.dtype}, expected torch.float32")
        if not value.numel() or not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} holds no numbers, or some that are not finite")

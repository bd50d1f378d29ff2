"""Stage one as one module: 8-bit frames and flow stacks in, fused and stream maps out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.features.fused import PatchFusion, can_fuse, fuse_convolutions
from model.features.fusion import ConvFusion
from model.features.trunk import Trunk, fold_batchnorm

# ImageNet statistics of RGB in [0, 1] (torchvision's ResNet101 weights).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
HALF_MAX = 65504.0


class Maps(NamedTuple):
    """Maps of a batch of snippets."""

    fused: Tensor  # (B, C, H, W)
    rgb: Tensor  # (B, 2048, h, w)
    flow: Tensor  # (B, 2048, h, w)


class StageOne(nn.Module):
    """The two trunks and the fusion, frozen."""

    mean: Tensor
    std: Tensor

    def __init__(self, rgb: Trunk, flow: Trunk, fusion: nn.Module) -> None:
        super().__init__()
        self.rgb = rgb
        self.flow = flow
        self.fusion = fusion
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def normalise_frames(self, frames: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 RGB to ÷255, less the ImageNet mean, over its deviation."""
        x = frames.to(torch.float32, memory_format=torch.channels_last).div_(255)
        return x.sub_(self.mean).div_(self.std).to(self.dtype)

    def normalise_stacks(self, stacks: Tensor) -> Tensor:
        """(B, 2L, S, S) 8-bit flow levels u₁ v₁ u₂ v₂ … to the flow trunk's input."""
        x = stacks.to(torch.float32, memory_format=torch.channels_last)
        return self.flow.scale_levels(x).to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the trunks' arithmetic; inputs are normalised in float32 before."""
        return next(self.rgb.parameters()).dtype

    def forward(self, frames: Tensor, stacks: Tensor) -> Maps:
        """Compute the maps of a batch.

        Parameters
        ----------
        frames : Tensor (B, 3, S, S) uint8, RGB
        stacks : Tensor (B, 2L, S, S) uint8 flow levels, u₁ v₁ u₂ v₂ …

        Returns
        -------
        Maps
        """
        rgb = self.rgb(self.normalise_frames(frames))
        flow = self.flow(self.normalise_stacks(stacks))
        dtype = next(self.fusion.parameters()).dtype
        return Maps(self.fusion(rgb.to(dtype), flow.to(dtype)), rgb, flow)


def for_inference(stage: StageOne, device: torch.device, dtype: torch.dtype) -> StageOne:
    """Return a copy for speed: BatchNorm folded (in float32), channels_last, on the device.

    On a CPU its convolutions are fused with what follows them, where PyTorch has such operations;
    the fusion of maps stays float32 there.
    """
    fusion = copy.deepcopy(stage.fusion)  # `to` works in place, and this one is the caller's
    if device.type == "cpu" and dtype in (torch.float32, torch.bfloat16) and can_fuse():
        if isinstance(fusion, ConvFusion):
            fusion = PatchFusion(fusion)
        rgb, flow = fuse_convolutions(stage.rgb, dtype), fuse_convolutions(stage.flow, dtype)
        fast = StageOne(rgb, flow, fusion)
    else:
        fast = StageOne(fold_batchnorm(stage.rgb), fold_batchnorm(stage.flow), fusion)
        fast.to(device=device, dtype=dtype)
    fast.to(memory_format=torch.channels_last)
    fast.mean, fast.std = stage.mean.to(device), stage.std.to(device)  # Normalise in float32.
    return fast


@torch.no_grad()
def first_overflow(stage: StageOne, frames: Tensor, stacks: Tensor) -> str | None:
    """Name the first layer whose output float16 cannot hold, or None.

    Runs the batch once more and checks every block; meant for the error message only.
    """
    overflowed: list[str] = []
    hooks = []
    for stream in ("rgb", "flow", "fusion"):
        for name, module in getattr(stage, stream).named_modules():
            if not list(module.children()) or name.count(".") == 1:
                hooks.append(module.register_forward_hook(_watch(f"{stream} {name}", overflowed)))
    try:
        stage(frames, stacks)
    finally:
        for hook in hooks:
            hook.remove()
    return overflowed[0] if overflowed else None


def _watch(name: str, overflowed: list[str]) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(module: nn.Module, args: object, output: Tensor) -> None:
        if not overflowed and not bool((output.abs() <= HALF_MAX).all()):
            overflowed.append(name)

    return hook

"""Launches of the CUDA engine's kernels, and the streams that they run on."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.tvl1.cuda.layout import LANES, Layout, Shape
from model.tvl1.options import TVL1Options

_SETTINGS: dict[str, Any] = {"num_stages": 1, "enable_fp_fusion": True}
# Warps of the kernels that build pyramids.
_PYRAMID_WARPS = 4


@dataclass(frozen=True)
class Tables:
    """A layout's tables on the device."""

    levels: Tensor
    thresholds: Tensor
    places: Tensor
    weights: Tensor

    @classmethod
    def of(cls, layout: Layout, device: torch.device) -> Tables:
        """Upload them."""
        tables = (layout.levels, layout.thresholds, layout.places, layout.weights)
        return cls(*(torch.from_numpy(table).to(device) for table in tables))


def block(shape: Shape) -> int:
    """Pixels that a block of a shape does at a time outside the iterations."""
    return LANES * shape.warps


def build_pyramid(frames: Tensor, layout: Layout, tables: Tables, shape: Shape) -> Tensor:
    """Build the levels and gradients of frames (F, H, W) on the device: (F, frame_stride)."""
    from model.tvl1.cuda.warp import gradient_kernel, shrink_kernel

    pyramid = torch.empty((len(frames), layout.frame_stride), device=frames.device)
    pyramid[:, : layout.pixels] = frames.flatten(1)
    settings = {"BLOCK": block(shape), "num_warps": _PYRAMID_WARPS, **_SETTINGS}
    for level, (height, width) in enumerate(layout.sizes):
        grid = (len(frames), -(-height * width // block(shape)))
        start = layout.starts[level]
        if level > 0:
            shrink_kernel[grid](
                pyramid, layout.frame_stride, layout.starts[level - 1], start,
                tables.places, tables.weights, *layout.shrink_at[level],
                *layout.sizes[level - 1], height, width, **settings,
            )  # fmt: skip
        gradient_kernel[grid](
            pyramid, layout.frame_stride, start, height * width, height, width, **settings
        )
    return pyramid


def solve(
    pyramid: Tensor,
    pairs: Tensor,
    workspace: Tensor,
    flow: Tensor,
    layout: Layout,
    tables: Tables,
    options: TVL1Options,
    shape: Shape,
) -> Tensor:
    """Launch the solver: `flow` (B, 2, H, W) of `pairs` (B, 2) int32 of the pyramid's frames.

    Returns
    -------
    Tensor (B, scales, warps, 3) int32
        Iterations, medians and passes; there once the kernel is done.
    """
    from model.tvl1.cuda.solve import COUNTED, solve_kernel

    counts = torch.zeros(
        (len(pairs), len(layout.sizes), options.warps, COUNTED.value),
        dtype=torch.int32,
        device=pyramid.device,
    )
    solve_kernel[(len(pairs),)](
        pyramid,
        layout.frame_stride,
        pairs,
        workspace,
        flow,
        counts,
        tables.levels,
        tables.thresholds,
        tables.places,
        tables.weights,
        len(layout.sizes),
        options.warps,
        options.outer,
        options.inner,
        1 / options.scale_step,
        options.lam * options.theta,
        options.theta,
        options.tau / options.theta,
        PLANE=layout.plane,
        S=shape.warps,
        K=shape.stages,
        SIDE=options.median,
        BLOCK=block(shape),
        num_warps=shape.warps,
        **_SETTINGS,
        **({"maxnreg": shape.registers} if shape.registers else {}),
    )
    return counts


@functools.cache
def side_stream(device: torch.device, slot: int) -> Any:
    """One stream for each slot of a device; None where there are no streams."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def on_stream(stream: Any) -> AbstractContextManager[Any]:
    """Run what follows on a stream; on the current one for None."""
    return nullcontext() if stream is None else torch.cuda.stream(stream)


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Launch what follows on a device; Triton launches on the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def gathered(frames: Tensor, chosen: Tensor, device: torch.device) -> Tensor:
    """Take some frames, in page-locked memory where they go from the host to a GPU.

    A copy from pageable memory would make the host wait for what the device does before it.
    """
    every = len(chosen) == len(frames)  # `chosen` is sorted and holds each frame once.
    if device.type != "cuda" or frames.is_cuda:
        return frames if every else frames[chosen.to(frames.device)]
    if every:
        return frames if frames.is_pinned() else frames.pin_memory()
    picked = torch.empty((len(chosen), *frames.shape[1:]), dtype=frames.dtype, pin_memory=True)
    return torch.index_select(frames, 0, chosen, out=picked)

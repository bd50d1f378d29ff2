"""TV-L1 on an NVIDIA GPU, many pairs at a time; the kernels are in ``cuda_*.py``.

The same method as the other engines, step for step: OpenCV 5's pyramid, warps, medians and
stopping rule, the rule kept for each pair. Arithmetic is float32 with contracted
multiply-adds and the device's division and root, so results are not OpenCV's to the bit but
within the gate: mean difference at most 0.03 px, at least 99 % of 8-bit values within a level.
Identical frames give exactly 0, and a pair's result does not depend on its batch.

A pair is solved by one thread block, so a batch is fast when it has as many pairs as the
device has places for blocks: one on each multiprocessor with the default `Shape`, and some
more so that pairs that stop early make room.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.tvl1.cuda.engine import CudaTVL1, as_tensor
from model.tvl1.cuda.layout import Shape
from model.tvl1.cuda.levels import quantise
from model.tvl1.cuda.memory import fit_batch, memory_bytes
from model.tvl1.cuda.runtime import available, interpreted
from model.tvl1.cuda.stream import calc_stream
from model.tvl1.frames import check_frames
from model.tvl1.options import TVL1Options

__all__ = [
    "CudaTVL1",
    "Shape",
    "available",
    "calc",
    "calc_batch",
    "calc_stream",
    "fit_batch",
    "memory_bytes",
    "quantise",
]


def calc(
    i0: npt.NDArray[np.uint8], i1: npt.NDArray[np.uint8], options: TVL1Options | None = None
) -> npt.NDArray[np.float32]:
    """Compute the flow of one pair on the current CUDA device; the signature of all engines.

    Parameters
    ----------
    i0, i1 : (H, W) uint8
        Grey frames, at least 2 px a side.
    options : TVL1Options, optional

    Returns
    -------
    (H, W, 2) float32
        u (right) and v (down), in px.

    Raises
    ------
    ValueError
        If a frame is not grey uint8, the sizes differ, or the engine cannot run here.
    """
    check_frames(i0, i1)
    flow = calc_batch(as_tensor(i0)[None], as_tensor(i1)[None], options)
    return np.ascontiguousarray(flow[0].permute(1, 2, 0).cpu().numpy())


def calc_batch(i0: Tensor, i1: Tensor, options: TVL1Options | None = None) -> Tensor:
    """Compute the flow of (B, H, W) uint8 frames where they are, or on the current device.

    Returns
    -------
    Tensor (B, 2, H, W) float32 on the device
        u (right) and v (down), in px.
    """
    if i0.ndim != 3:
        raise ValueError(f"frames: expected uint8 (B, H, W), got {tuple(i0.shape)}")
    device = i0.device if i0.is_cuda else torch.device("cpu" if interpreted() else "cuda")
    return _engine(*i0.shape[1:], options or TVL1Options(), device).calc_batch(i0, i1)


@functools.lru_cache(maxsize=4)
def _engine(height: int, width: int, options: TVL1Options, device: torch.device) -> CudaTVL1:
    return CudaTVL1(height, width, options, device, batch=None)

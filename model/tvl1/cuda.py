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
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.tvl1 import cuda_layout
from model.tvl1.cuda_runtime import available, interpreted
from model.tvl1.frames import check_frames
from model.tvl1.options import TVL1Options

__all__ = [
    "CudaTVL1",
    "Shape",
    "available",
    "calc",
    "calc_batch",
    "fit_batch",
    "memory_bytes",
    "quantise",
]

# Pairs beyond which a batch gains nothing: so many for each multiprocessor. More would also
# make one launch take seconds on a small device, which drivers of displays do not suffer.
_PAIRS_A_MULTIPROCESSOR = 4
# Share of the free memory that a batch may take; the trunks live beside it.
_MEMORY_SHARE = 0.4
# Workspace of batches on the caller's own stream; those of `flows` are numbered 0 and 1.
_HERE = -1
# Levels between zero motion (128) and the bound, as in flow caches.
_LEVELS = 127
_ZERO = 128


@dataclass(frozen=True)
class Shape:
    """Shape of the thread blocks.

    Attributes
    ----------
    warps : int
        Warps of a block, a power of 2.
    stages : int
        Iterations done each time the flow is read from device memory and written back.
    registers : int, optional
        Most registers a thread may use; Triton's choice when absent.
    """

    warps: int = 16
    stages: int = 2
    registers: int | None = None


class CudaTVL1:
    """An engine for pairs of one size on one device.

    Parameters
    ----------
    height, width : int
        Size of the frames in px, at least 2 a side.
    options : TVL1Options, optional
        OpenCV's defaults when absent.
    device : str or torch.device
        A CUDA device, or "cpu" under Triton's interpreter.
    batch : int, optional
        Pairs at a time at most; by default what `fit_batch` finds.
    shape : Shape

    Attributes
    ----------
    batch : int
    counts : Tensor (B, scales, warps, 3) int32 or None
        Of the last batch launched: iterations, medians (outer iterations) and passes over the
        image for each level, finest first, and each warp.

    Raises
    ------
    ValueError
        If the engine cannot run here (see `available`), or the size or device makes no sense.
    """

    def __init__(
        self,
        height: int,
        width: int,
        options: TVL1Options | None = None,
        device: str | torch.device = "cuda",
        batch: int | None = None,
        shape: Shape = Shape(),
    ) -> None:
        self.device = _usable(device)
        if min(height, width) < 2:
            raise ValueError(f"frames: expected at least 2x2 px, got {height}x{width}")
        # The interpreter, which has no warps, is fastest with many.
        most = 4096 if interpreted() else 32
        power = shape.warps > 0 and shape.warps & (shape.warps - 1) == 0
        if not power or shape.warps > most or not 1 <= shape.stages <= 8:
            raise ValueError(f"expected 1 to 32 warps, a power of 2, and 1 to 8 stages: {shape}")
        self.options = options or TVL1Options()
        self.shape = shape
        self.size = (height, width)
        self.layout = cuda_layout.plan(height, width, self.options, shape.warps, shape.stages)
        self.batch = batch or fit_batch(height, width, self.options, self.device)
        if self.batch < 1:
            raise ValueError(f"batch: expected at least 1 pair, got {self.batch}")
        self.counts: Tensor | None = None
        layout = self.layout
        self._levels = torch.from_numpy(layout.levels).to(self.device)
        self._thresholds = torch.from_numpy(layout.thresholds).to(self.device)
        self._places = torch.from_numpy(layout.places).to(self.device)
        self._weights = torch.from_numpy(layout.weights).to(self.device)
        self._work: dict[int, Tensor] = {}

    @property
    def memory_bytes(self) -> int:
        """Device memory of a full batch."""
        return memory_bytes(*self.size, self.options, self.batch)

    def calc_batch(self, i0: Tensor, i1: Tensor) -> Tensor:
        """Compute the flow that carries each first frame to its second.

        Parameters
        ----------
        i0, i1 : Tensor (B, H, W) uint8
            Grey frames; more pairs than `batch` are done in turn.

        Returns
        -------
        Tensor (B, 2, H, W) float32 on the engine's device
            u (right) and v (down), in px.

        Raises
        ------
        ValueError
            If the frames are not uint8 of the engine's size, or differ in number.
        """
        if len(i0) != len(i1):
            raise ValueError(f"expected as many second frames as first, got {len(i0)}, {len(i1)}")
        first, second = self._check(i0), self._check(i1)
        flow = torch.empty((len(i0), 2, *self.size), device=self.device)
        for start in range(0, len(i0), self.batch):
            part = slice(start, start + self.batch)
            frames = torch.cat([first[part], second[part]])
            pairs = torch.arange(len(frames), dtype=torch.int32).view(2, -1).T
            self._solve(frames, pairs, flow[part], _HERE)
        return flow

    def flows(
        self, frames: Tensor | npt.NDArray[np.uint8], pairs: npt.ArrayLike
    ) -> Iterator[tuple[slice, Tensor]]:
        """Compute flow for pairs of a video's frames, a batch at a time.

        While the caller works on one batch the device already does the next.

        Parameters
        ----------
        frames : (F, H, W) uint8
            Grey frames, on any device or in NumPy; each is uploaded once a batch at most.
        pairs : (P, 2) int
            First and second frame of each pair, as indices into `frames`.

        Yields
        ------
        slice, Tensor (B, 2, H, W) float32 on the device
            Which pairs, and their flow in px, u then v; valid on the current stream.

        Raises
        ------
        ValueError
            If the frames are not uint8 of the engine's size, or a pair is out of range.
        """
        source = self._check(torch.as_tensor(frames), move=False)
        index = np.asarray(pairs)
        if index.ndim != 2 or index.shape[1] != 2:
            raise ValueError(f"pairs: expected (P, 2) frame numbers, got {index.shape}")
        if index.size and not (index.min() >= 0 and index.max() < len(source)):
            raise ValueError(
                f"pairs: expected frame numbers in 0 … {len(source) - 1},"
                f" got {index.min()} … {index.max()}"
            )
        parts = [
            slice(start, min(start + self.batch, len(index)))
            for start in range(0, len(index), self.batch)
        ]
        running: list[tuple[slice, Tensor, Any]] = []
        for number, part in enumerate(parts):
            running.append((part, *self._start(source, index[part], number % 2)))
            if len(running) == 2:
                yield self._finish(*running.pop(0))
        for rest in running:
            yield self._finish(*rest)

    def levels(
        self, frames: Tensor | npt.NDArray[np.uint8], pairs: npt.ArrayLike, bound: float
    ) -> Tensor:
        """Compute flow as the 8-bit levels that a flow cache holds, without leaving the device.

        Parameters
        ----------
        frames, pairs
            As for `flows`.
        bound : float
            Displacement in px of the levels 1 and 255.

        Returns
        -------
        Tensor (P, 2, H, W) uint8 on the device
        """
        out = torch.empty((len(np.asarray(pairs)), 2, *self.size), dtype=torch.uint8)
        out = out.to(self.device)
        for part, flow in self.flows(frames, pairs):
            out[part] = quantise(flow, bound)
        return out

    def _check(self, frames: Tensor, move: bool = True) -> Tensor:
        if frames.dtype != torch.uint8 or tuple(frames.shape[1:]) != self.size:
            raise ValueError(
                f"frames: expected uint8 (B, {self.size[0]}, {self.size[1]}),"
                f" got {str(frames.dtype).removeprefix('torch.')} {tuple(frames.shape)}"
            )
        return frames.to(self.device, non_blocking=True) if move else frames

    def _start(
        self, frames: Tensor, pairs: npt.NDArray[np.integer], slot: int
    ) -> tuple[Tensor, Any]:
        """Launch one batch on the slot's own stream; return its flow and that stream."""
        used, local = np.unique(pairs, return_inverse=True)
        chosen = frames[torch.from_numpy(used).to(frames.device)]
        index = torch.from_numpy(local.reshape(-1, 2).astype(np.int32))
        stream = self._stream(slot)
        with _on(stream):
            uploaded = chosen.to(self.device, non_blocking=True)
            if stream is not None and chosen.is_cuda:
                chosen.record_stream(stream)
            flow = torch.empty((len(pairs), 2, *self.size), device=self.device)
            self._solve(uploaded, index, flow, slot)
        return flow, stream

    def _finish(self, part: slice, flow: Tensor, stream: Any) -> tuple[slice, Tensor]:
        """Let the current stream wait for the batch; the host does not."""
        if stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(stream)
            flow.record_stream(current)
        return part, flow

    def _stream(self, slot: int) -> Any:
        if self.device.type != "cuda":
            return None
        stream = _stream(self.device, slot)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        return stream

    def _solve(self, frames: Tensor, pairs: Tensor, flow: Tensor, slot: int) -> None:
        """Launch the kernels for one batch on the current stream."""
        from model.tvl1.cuda_solve import COUNTED, solve_kernel

        options, layout = self.options, self.layout
        count = len(pairs)
        if count == 0:
            return
        with _device(self.device):
            pyramid = self._pyramid(frames)
            index = pairs.contiguous().to(self.device, non_blocking=True)
            self.counts = torch.zeros(
                (count, len(layout.sizes), options.warps, COUNTED.value),
                dtype=torch.int32,
                device=self.device,
            )
            solve_kernel[(count,)](
                pyramid,
                layout.frame_stride,
                index,
                self._workspace(slot),
                flow,
                self.counts,
                self._levels,
                self._thresholds,
                self._places,
                self._weights,
                len(layout.sizes),
                options.warps,
                options.outer,
                options.inner,
                1 / options.scale_step,
                options.lam * options.theta,
                options.theta,
                options.tau / options.theta,
                PLANE=layout.plane,
                S=self.shape.warps,
                K=self.shape.stages,
                SIDE=options.median,
                BLOCK=self._block,
                num_warps=self.shape.warps,
                num_stages=1,
                enable_fp_fusion=True,
                **({"maxnreg": self.shape.registers} if self.shape.registers else {}),
            )

    @property
    def _block(self) -> int:
        """Pixels that a block does at a time outside the iterations."""
        return cuda_layout.LANES * self.shape.warps

    def _workspace(self, slot: int) -> Tensor:
        if slot not in self._work:
            size = (self.batch, cuda_layout.WORK_PLANES, self.layout.plane)
            self._work[slot] = torch.empty(size, device=self.device)
        return self._work[slot]

    def _pyramid(self, frames: Tensor) -> Tensor:
        """Build the levels and gradients of each frame, (F, frame_stride)."""
        from model.tvl1.cuda_warp import gradient_kernel, shrink_kernel

        layout = self.layout
        pyramid = torch.empty((len(frames), layout.frame_stride), device=self.device)
        pyramid[:, : layout.pixels] = frames.flatten(1)
        settings: dict[str, Any] = {
            "BLOCK": self._block, "num_warps": 4, "num_stages": 1, "enable_fp_fusion": True
        }  # fmt: skip
        for level, (height, width) in enumerate(layout.sizes):
            grid = (len(frames), -(-height * width // self._block))
            start = layout.starts[level]
            if level > 0:
                shrink_kernel[grid](
                    pyramid, layout.frame_stride, layout.starts[level - 1], start,
                    self._places, self._weights, *layout.shrink_at[level],
                    *layout.sizes[level - 1], height, width, **settings,
                )  # fmt: skip
            gradient_kernel[grid](
                pyramid, layout.frame_stride, start, height * width, height, width, **settings
            )
        return pyramid


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
    flow = calc_batch(torch.from_numpy(i0)[None], torch.from_numpy(i1)[None], options)
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


def quantise(flow: Tensor, bound: float) -> Tensor:
    """Round flow to the 8-bit levels of a flow cache, on the device that it is on.

    Parameters
    ----------
    flow : Tensor (…,) float32
        Displacement in px.
    bound : float
        Displacement in px of the levels 1 and 255.

    Returns
    -------
    Tensor (…,) uint8
        128 + round(flow · 127 / bound), ties to even, within 1 … 255.
    """
    if not bound > 0:
        raise ValueError(f"the bound is a displacement above 0 px, got {bound}")
    # The factor is rounded to float32 first, as `data.flow_cache.quantise` does.
    levels = torch.round(flow * float(np.float32(_LEVELS / bound)))
    return (levels.clamp(-_LEVELS, _LEVELS) + _ZERO).to(torch.uint8)


def memory_bytes(height: int, width: int, options: TVL1Options | None, batch: int) -> int:
    """Device memory that a batch of pairs takes at most, in bytes.

    That is each pair's workspace and flow, and the pyramids of its two frames. `CudaTVL1.flows`
    has two batches under way.
    """
    options = options or TVL1Options()
    layout = cuda_layout.plan(height, width, options, Shape.warps, Shape.stages)
    return batch * (cuda_layout.pair_bytes(layout) + 2 * cuda_layout.frame_bytes(layout))


def fit_batch(
    height: int,
    width: int,
    options: TVL1Options | None = None,
    device: str | torch.device = "cuda",
    share: float = _MEMORY_SHARE,
) -> int:
    """Return how many pairs fit a share of the device's free memory, two batches under way.

    Raises
    ------
    ValueError
        If not even one pair fits.
    """
    target = _usable(device)
    if target.type != "cuda":
        return _PAIRS_A_MULTIPROCESSOR
    free = torch.cuda.mem_get_info(target)[0]
    free += torch.cuda.memory_reserved(target) - torch.cuda.memory_allocated(target)
    one = memory_bytes(height, width, options, 1)
    fitting = int(share * free) // (2 * one)
    if fitting < 1:
        raise ValueError(
            f"{target}: {free >> 20} MiB free, but TV-L1 at {width}x{height} needs"
            f" {2 * one >> 20} MiB within {share:.0%} of it; use a smaller flow size"
        )
    places = torch.cuda.get_device_properties(target).multi_processor_count
    return min(fitting, _PAIRS_A_MULTIPROCESSOR * places)


@functools.lru_cache(maxsize=4)
def _engine(height: int, width: int, options: TVL1Options, device: torch.device) -> CudaTVL1:
    return CudaTVL1(height, width, options, device, batch=None)


@functools.cache
def _stream(device: torch.device, slot: int) -> Any:
    return torch.cuda.Stream(device)


def _on(stream: Any) -> AbstractContextManager[Any]:
    return nullcontext() if stream is None else torch.cuda.stream(stream)


def _device(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _usable(device: str | torch.device) -> torch.device:
    """Check that the engine runs on a device and give it its number."""
    runs, reason = available()
    if not runs:
        raise ValueError(f"TV-L1 engine cuda: {reason}; use engine numba or opencv")
    found = torch.device(device)
    if found.type == "cpu" and interpreted():
        return found
    if found.type != "cuda":
        raise ValueError(f"TV-L1 engine cuda: expected a CUDA device, got {found}")
    if interpreted():
        raise ValueError("TV-L1 engine cuda: TRITON_INTERPRET is set; unset it to use the GPU")
    if found.index is None:
        found = torch.device("cuda", torch.cuda.current_device())
    return found

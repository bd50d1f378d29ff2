"""The CUDA engine: batches of pairs of one size, launched on one device."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.tvl1 import cuda_layout
from model.tvl1.cuda_layout import Shape
from model.tvl1.cuda_levels import quantise
from model.tvl1.cuda_memory import fit_batch, memory_bytes
from model.tvl1.cuda_runtime import interpreted, usable_device
from model.tvl1.options import TVL1Options

# Workspace of batches on the caller's own stream; those of `flows` are numbered 0 and 1.
_HERE = -1


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
    shape : Shape, optional

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
        shape: Shape | None = None,
    ) -> None:
        self.device = usable_device(device)
        if min(height, width) < 2:
            raise ValueError(f"frames: expected at least 2x2 px, got {height}x{width}")
        shape = shape or Shape()
        # The interpreter, which has no warps, is fastest with many.
        most = 4096 if interpreted() else 32
        power = shape.warps > 0 and shape.warps & (shape.warps - 1) == 0
        if not power or shape.warps > most or not 1 <= shape.stages <= 8:
            raise ValueError(f"expected 1 to 32 warps, a power of 2, and 1 to 8 stages: {shape}")
        self.options = options or TVL1Options()
        self.shape = shape
        self.size = (height, width)
        self.layout = cuda_layout.plan(height, width, self.options, shape)
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
        self._slot = 0

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
        source = self._check(as_tensor(frames), move=False)
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
        for part in parts:
            self._slot = 1 - self._slot
            running.append((part, *self._start(source, index[part], self._slot)))
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


def as_tensor(frames: Tensor | npt.NDArray[np.uint8]) -> Tensor:
    """Return frames as a tensor; arrays from other processes are read-only, which torch minds."""
    if isinstance(frames, np.ndarray) and not frames.flags.writeable:
        frames = frames.copy()
    return torch.as_tensor(frames)


@functools.cache
def _stream(device: torch.device, slot: int) -> Any:
    return torch.cuda.Stream(device)


def _on(stream: Any) -> AbstractContextManager[Any]:
    return nullcontext() if stream is None else torch.cuda.stream(stream)


def _device(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()

"""The CUDA engine: batches of pairs of one size, launched on one device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.tvl1.cuda.launch import (
    Tables,
    build_pyramid,
    gathered,
    on_device,
    on_stream,
    side_stream,
    solve,
)
from model.tvl1.cuda.layout import WORK_PLANES, Shape, layout_of, memory_bytes
from model.tvl1.cuda.runtime import fit_batch, interpreted, usable_device
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
        self.layout = layout_of(height, width, self.options, shape)
        self.batch = batch or fit_batch(height, width, self.options, self.device)
        if self.batch < 1:
            raise ValueError(f"batch: expected at least 1 pair, got {self.batch}")
        self.counts: Tensor | None = None
        self._tables = Tables.of(self.layout, self.device)
        self._work: dict[int, Tensor] = {}
        self._slot = 0

    @property
    def memory_bytes(self) -> int:
        """Device memory of a full batch."""
        return memory_bytes(*self.size, self.options, self.batch)

    def shrink(self, batch: int) -> None:
        """Compute at most `batch` pairs at a time from now on, and free the rest of the memory."""
        if not 1 <= batch <= self.batch:
            raise ValueError(f"batch: expected 1 to {self.batch} pairs, got {batch}")
        self.batch = batch
        self._work.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

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
        index = torch.from_numpy(local.reshape(-1, 2).astype(np.int32))
        chosen = gathered(frames, torch.from_numpy(used), self.device)
        stream = side_stream(self.device, slot)
        if stream is not None and chosen.is_cuda:
            stream.wait_stream(torch.cuda.current_stream(self.device))
            chosen.record_stream(stream)
        with on_stream(stream):
            uploaded = chosen.to(self.device, non_blocking=True)
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

    def _solve(self, frames: Tensor, pairs: Tensor, flow: Tensor, slot: int) -> None:
        """Launch the kernels for one batch on the current stream."""
        if len(pairs) == 0:
            return
        with on_device(self.device):
            pyramid = self._pyramid(frames)
            index = pairs.contiguous().to(self.device, non_blocking=True)
            self.counts = solve(
                pyramid,
                index,
                self._workspace(slot),
                flow,
                self.layout,
                self._tables,
                self.options,
                self.shape,
            )

    def _pyramid(self, frames: Tensor) -> Tensor:
        return build_pyramid(frames, self.layout, self._tables, self.shape)

    def _workspace(self, slot: int) -> Tensor:
        if slot not in self._work:
            size = (self.batch, WORK_PLANES, self.layout.plane)
            self._work[slot] = torch.empty(size, device=self.device)
        return self._work[slot]


def as_tensor(frames: Tensor | npt.NDArray[np.uint8]) -> Tensor:
    """Return frames as a tensor; read-only arrays are copied, because torch warns about them."""
    if isinstance(frames, np.ndarray) and not frames.flags.writeable:
        frames = frames.copy()
    return torch.as_tensor(frames)

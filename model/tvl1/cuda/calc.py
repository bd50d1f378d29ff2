"""TV-L1 on an NVIDIA GPU, many pairs at a time: one pair, a batch, or pairs from a reader.

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
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.memory import is_out_of_memory
from model.tvl1.cuda.engine import CudaTVL1, as_tensor
from model.tvl1.cuda.runtime import interpreted
from model.tvl1.frames import check_frames
from model.tvl1.options import TVL1Options

Frame = npt.NDArray[np.uint8]


def calc(i0: Frame, i1: Frame, options: TVL1Options | None = None) -> npt.NDArray[np.float32]:
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


def calc_stream(
    pairs: Iterable[tuple[Frame, Frame]],
    options: TVL1Options | None = None,
    device: str | torch.device = "cuda",
    batch: int | None = None,
    on_shrink: Callable[[int, int], object] | None = None,
) -> Iterator[npt.NDArray[np.float32]]:
    """Compute the flow of pairs in order, a batch at a time.

    While the device works on a batch, the next one is read and queued.

    Parameters
    ----------
    pairs : iterable of two (H, W) uint8
        Grey frames of one size. A frame that is the same object in several pairs of a batch is
        uploaded once.
    options : TVL1Options, optional
    device : str or torch.device
        A CUDA device.
    batch : int, optional
        Pairs at a time at most; by default what fits the device's memory.
    on_shrink : callable, optional
        Called with the batch size before and after, each time the device's memory runs out and
        it is halved.

    Yields
    ------
    (H, W, 2) float32
        u (right) and v (down), in px.

    Raises
    ------
    ValueError
        If a frame is not grey uint8, sizes differ, the engine cannot run here, or there is no
        memory for a single pair.
    """
    source = iter(pairs)
    engine: CudaTVL1 | None = None
    queued: Tensor | None = None
    for first in source:
        check_frames(*first)
        if engine is None:
            height, width = first[0].shape
            engine = CudaTVL1(height, width, options, device, batch)
        chunk = [first, *itertools.islice(source, engine.batch - 1)]
        for flow in _launched(engine, chunk, on_shrink):
            if queued is not None:
                yield from _fields(queued)
            queued = flow
    if queued is not None:
        yield from _fields(queued)


def _launched(
    engine: CudaTVL1,
    chunk: list[tuple[Frame, Frame]],
    on_shrink: Callable[[int, int], object] | None,
) -> Iterator[Tensor]:
    """Queue a chunk, in one batch or, when memory runs out, in smaller ones from then on."""
    done = 0
    while done < len(chunk):
        before = min(engine.batch, len(chunk) - done)
        try:
            flow = _launch(engine, chunk[done : done + before])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if before == 1:
                raise ValueError(
                    f"TV-L1 engine cuda: {engine.device} has no memory for the flow of a single"
                    f" pair of {engine.size[1]}x{engine.size[0]}; use a smaller flow size"
                ) from error
            engine.shrink(before // 2)
            if on_shrink is not None:
                on_shrink(before, engine.batch)
            continue
        yield flow
        done += before


def _launch(engine: CudaTVL1, chunk: list[tuple[Frame, Frame]]) -> Tensor:
    """Queue one batch; the host does not wait for it."""
    place: dict[int, int] = {}
    frames: list[Frame] = []
    for pair in chunk:
        check_frames(*pair)
        for frame in pair:
            if id(frame) not in place:
                place[id(frame)] = len(frames)
                frames.append(frame)
    if any(frame.shape != engine.size for frame in frames):
        sizes = sorted({frame.shape for frame in frames} | {engine.size})
        raise ValueError(f"frames: expected one size (height, width), got {sizes}")
    index = [(place[id(first)], place[id(second)]) for first, second in chunk]
    ((_, flow),) = engine.flows(np.stack(frames), index)
    return flow


def _fields(flow: Tensor) -> Iterator[npt.NDArray[np.float32]]:
    """Bring a batch to the host, waiting for it."""
    yield from np.ascontiguousarray(flow.permute(0, 2, 3, 1).cpu().numpy())

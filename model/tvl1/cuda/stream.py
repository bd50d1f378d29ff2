"""The CUDA engine for pairs that come one by one from a reader."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.memory import is_out_of_memory
from model.tvl1.cuda.engine import CudaTVL1
from model.tvl1.frames import check_frames
from model.tvl1.options import TVL1Options

Frame = npt.NDArray[np.uint8]


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
        Told the batch before and after, each time the device's memory runs out and it is halved.

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

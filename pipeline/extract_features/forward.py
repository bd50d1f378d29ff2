"""Batches of snippets through stage one on one device, whatever the memory allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.errors import VideoError
from model.features.stage_one import HALF_MAX, Maps, StageOne, first_overflow, for_inference
from model.memory import is_out_of_memory
from pipeline.shell.console import log

# Snippets a batch at 448 px. CPU: larger ones gain nothing. CUDA: 8 GB of activations suffice.
_CPU_BATCH = 4
_CUDA_BATCH = 32
_GRAPHS = 8  # Batch sizes kept as captured graphs; further ones run kernel by kernel.

Compute = Callable[[Tensor, Tensor], Maps]


def default_batch_size(input_size: int, device: str) -> int:
    """Snippets a batch where the user gave none: constant in pixels, so that memory is too."""
    base = _CUDA_BATCH if device.startswith("cuda") else _CPU_BATCH
    return min(max(base, base * 448**2 // input_size**2), 64)


@dataclass
class HostMaps:
    """Maps of a batch as float16 arrays; the stream maps only where they are kept."""

    fused: np.ndarray  # (B, C, H, W)
    rgb: np.ndarray | None = None  # (B, 2048, h, w)
    flow: np.ndarray | None = None


@dataclass
class Pending:
    """Maps of a batch on their way to the host."""

    name: str
    frames: Tensor
    stacks: Tensor
    maps: list[Tensor]  # fused[, rgb, flow], float16, on the host
    finite: Tensor  # Whether all maps are, and fit into float16.
    done: torch.cuda.Event | None


class Forward:
    """Stage one on one device.

    `submit` starts a batch and returns at once on CUDA; `collect` waits for it. Out of memory
    halves the batch size for good, names the video, and goes on.

    Parameters
    ----------
    stage : StageOne
        As trained, on the CPU; a folded copy runs on the device.
    device : str
        "cpu", "cuda:0" …
    precision : {"float32", "bfloat16", "float16"}
        Arithmetic of the trunks.
    batch_size : int
        Snippets at a time at most.
    keep_streams : bool
        Whether stream maps are wanted on the host.
    compute : callable, optional
        Runs a batch on the device in place of the folded copy (or, on CUDA, its captured
        graphs).
    """

    def __init__(
        self,
        stage: StageOne,
        device: str = "cpu",
        precision: str = "float32",
        *,
        batch_size: int = _CPU_BATCH,
        keep_streams: bool = False,
        compute: Compute | None = None,
    ) -> None:
        self.stage = stage
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.keep_streams = keep_streams
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
            if precision == "float32":  # TF32 keeps no more than float16 does.
                torch.backends.cudnn.allow_tf32 = False
        self._fast = for_inference(stage, self.device, getattr(torch, precision))
        if compute is None:
            compute = Graphed(self._fast) if self.device.type == "cuda" else self._fast
        self._compute = compute

    def submit(self, frames: Tensor, stacks: Tensor, name: str) -> list[Pending]:
        """Start a batch of one video.

        Parameters
        ----------
        frames : Tensor (B, 3, S, S) uint8, on the host
        stacks : Tensor (B, 2L, S, S) uint8, or (B, 2L, H, W) to be resized on the device
        name : str
            The video, for messages.

        Returns
        -------
        list of Pending
            One for each part that the batch was cut into.

        Raises
        ------
        VideoError
            A single snippet does not fit into memory.
        """
        if len(frames) > self.batch_size:
            parts = zip(frames.split(self.batch_size), stacks.split(self.batch_size), strict=True)
            return [item for part in parts for item in self.submit(*part, name)]
        try:
            return [self._start(frames, stacks, name)]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._shrink(len(frames), name)
        return self.submit(frames, stacks, name)

    def _shrink(self, size: int, name: str) -> None:
        if size == 1:
            raise VideoError(
                f"{self.device} has no memory for a single snippet; use a smaller --input-size "
                "or another --device"
            )
        # Another batch may have halved it meanwhile.
        self.batch_size = min(self.batch_size, size // 2)
        log.warning(
            "%s: out of memory on %s with %d snippets; going on with %d",
            name,
            self.device,
            size,
            self.batch_size,
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _start(self, frames: Tensor, stacks: Tensor, name: str) -> Pending:
        on_device = stacks.to(self.device, non_blocking=True)
        if on_device.shape[-2:] != frames.shape[-2:]:
            on_device = resize_on_device(on_device, frames.shape[-1])
        maps = self._compute(frames.to(self.device, non_blocking=True), on_device)
        # The streams are looked at even where only the fused map is kept: a ReLU or a sum after
        # an overflow can hide it.
        finite = torch.stack([(m.abs() <= HALF_MAX).all() for m in self._checked(maps)]).all()
        kept = maps if self.keep_streams else (maps.fused,)
        halves = [m.to(torch.float16, memory_format=torch.contiguous_format) for m in kept]
        if self.device.type == "cpu":
            return Pending(name, frames, stacks, halves, finite, None)
        hosts = [_to_host(m) for m in (*halves, finite)]
        done = torch.cuda.Event()
        done.record()
        return Pending(name, frames, stacks, hosts[:-1], hosts[-1], done)

    def _checked(self, maps: Maps) -> tuple[Tensor, ...]:
        """Return the maps that must fit into float16: those stored, those computed in it."""
        in_half = maps.rgb.dtype == torch.float16
        return tuple(maps) if self.keep_streams or in_half else (maps.fused,)

    def collect(self, pending: Pending) -> HostMaps:
        """Wait for a batch.

        Raises
        ------
        VideoError
            Values that float16 cannot hold; names the layer and the remedy.
        """
        if pending.done is not None:
            pending.done.synchronize()
        if not bool(pending.finite):
            raise VideoError(self._overflow(pending))
        return HostMaps(*(m.numpy() for m in pending.maps))

    def _overflow(self, pending: Pending) -> str:
        frames, stacks = pending.frames[:1].cpu(), pending.stacks.cpu()
        if stacks.shape[-2:] != frames.shape[-2:]:
            stacks = resize_on_device(stacks, frames.shape[-1])
        layer = None
        for row in range(len(stacks)):
            layer = first_overflow(
                self.stage, pending.frames[row : row + 1].cpu(), stacks[row : row + 1]
            )
            if layer is not None:
                break
        where = f"{layer} passes" if layer else "the maps pass"
        return (
            f"{where} 65504, the largest number of float16 (or is not finite); use trunk weights "
            "with matching BatchNorm statistics (--weights random calibrates its own), or, if "
            "these weights must be, --precision float32 without --keep-streams"
        )


class Graphed:
    """Stage one as one CUDA graph for each batch size: a replay, not 700 kernel launches."""

    def __init__(self, stage: StageOne) -> None:
        self._stage = stage
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Maps]] = {}

    def __call__(self, frames: Tensor, stacks: Tensor) -> Maps:
        """Compute a batch; the maps are the caller's."""
        if len(frames) not in self._graphs and len(self._graphs) >= _GRAPHS:
            return self._stage(frames, stacks)
        if len(frames) not in self._graphs:
            self._graphs[len(frames)] = self._capture(frames, stacks)
        graph, own_frames, own_stacks, maps = self._graphs[len(frames)]
        own_frames.copy_(frames)
        own_stacks.copy_(stacks)
        graph.replay()
        return Maps(*(m.clone() for m in maps))

    def _capture(
        self, frames: Tensor, stacks: Tensor
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Maps]:
        own_frames, own_stacks = frames.clone(), stacks.clone()
        side = torch.cuda.Stream(device=frames.device)
        side.wait_stream(torch.cuda.current_stream(frames.device))
        with torch.cuda.stream(side):  # cuDNN chooses its algorithms outside the capture.
            self._stage(own_frames, own_stacks)
        torch.cuda.current_stream(frames.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # "thread_local": reader threads allocate page-locked memory meanwhile, which would
        # spoil the capture, but concerns none of its tensors.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            maps = self._stage(own_frames, own_stacks)
        return graph, own_frames, own_stacks, maps


def _to_host(values: Tensor) -> Tensor:
    """Start a copy to page-locked memory; it is there once a later event has happened."""
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return host.copy_(values, non_blocking=True)


def resize_on_device(stacks: Tensor, size: int) -> Tensor:
    """Resize (B, 2L, H, W) uint8 stacks on a GPU, within 1 level of Pillow's bicubic.

    Two passes, rounded and clipped to 8 bits between them as Pillow does. Pillow 13 takes the
    height first for upright pictures, earlier ones never: values that are clipped in between may
    differ by more there.
    """
    height = stacks.shape[-2]
    x = stacks.float()
    for shape in ((height, size), (size, size)):
        x = torch.nn.functional.interpolate(
            x, size=shape, mode="bicubic", antialias=True, align_corners=False
        )
        x = x.round_().clamp_(0, 255)
    return x.to(stacks.dtype)

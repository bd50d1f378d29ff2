"""A video's snippets, read in one pass: RGB frame and flow stack, matched by frame index."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data.cache_header import Header
from data.errors import CacheError, InputError, VideoError
from data.flow_cache import FlowCache, open_flow
from data.options import PlanOptions
from data.sampling import SnippetPlan, plan_snippets
from data.video import read_frames
from pipeline.preprocess import resize_field, resize_frame, stack_fields, to_levels


@dataclass(frozen=True)
class VideoInput:
    """What a worker needs to read the snippets of one video."""

    key: str
    path: Path
    flow: Path
    plan: PlanOptions
    input_size: int
    resize_flow: bool = True  # False: the device resizes the stacks.


@dataclass
class Chunk:
    """Consecutive snippets of one video, or the reason why there are none."""

    video: int  # Number of the video in the list given.
    rows: np.ndarray  # (B,) int64
    frames: Any = None  # Tensor (B, 3, S, S) uint8 RGB
    stacks: Any = None  # Tensor (B, 2L, S, S) uint8, or (B, 2L, H, W) before resizing
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # "decode", "flow"

    def pin_memory(self) -> Chunk:
        """Move the tensors to page-locked memory (called by torch's DataLoader)."""
        if self.error is None:
            self.frames, self.stacks = self.frames.pin_memory(), self.stacks.pin_memory()
        return self


def snippet_plan(flow: FlowCache, options: PlanOptions) -> SnippetPlan:
    """Plan the snippets of a flow cache's video from the time stamps that the cache keeps.

    Raises
    ------
    CacheError
        The cache lacks flow that the plan needs; names the command that makes it.
    VideoError
        The video is too short for any flow.
    """
    try:
        plan = plan_snippets(flow.frame_time, options)
    except ValueError as error:
        raise VideoError(f"{flow.header.source}: {error}") from error
    flow.rows(plan.pairs)
    return plan


def flow_bound(header: Header) -> float:
    """Bound in px that a flow cache was made with."""
    stored = header.parameters.get("flow")
    if not isinstance(stored, dict) or "bound" not in stored:
        raise CacheError(f"the flow cache of {header.source} does not say its bound; make it anew")
    return float(stored["bound"])


def read_snippets(
    video: VideoInput, rows: np.ndarray, seconds: dict[str, float]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Read snippets of a plan, in order, decoding the video once.

    Parameters
    ----------
    video
        The video and its flow cache.
    rows
        Sorted numbers of the snippets wanted.
    seconds
        The time spent is added under "decode" and "flow" (resizing included).

    Yields
    ------
    (row, frame, stack)
        RGB (3, S, S) uint8, and (2L, ·, ·) uint8 levels, u₁ v₁ u₂ v₂ …
    """
    with open_flow(video.flow) as flow:
        plan = snippet_plan(flow, video.plan)
        fields = _Fields(flow, flow.rows(plan.pairs), video)
        wanted = plan.frame[rows]
        began = time.perf_counter()
        for row, (index, frame) in zip(rows, read_frames(video.path, wanted), strict=True):
            if index != plan.frame[row]:
                raise VideoError(f"{video.path}: frame {plan.frame[row]} is wanted, got {index}")
            resized = resize_frame(frame, video.input_size)
            decoded = time.perf_counter()
            stack = fields.stack(plan.fields[row])
            seconds["decode"] = seconds.get("decode", 0.0) + decoded - began
            began = time.perf_counter()
            seconds["flow"] = seconds.get("flow", 0.0) + began - decoded
            yield int(row), resized, stack
            began = time.perf_counter()


class _Fields:
    """Fields of one video, each read and resized once while consecutive stacks share it."""

    def __init__(self, flow: FlowCache, rows: np.ndarray, video: VideoInput) -> None:
        self._flow = flow
        self._rows = rows
        self._size = video.input_size if video.resize_flow else None
        self._bound = flow_bound(flow.header)
        self._kept: dict[int, np.ndarray] = {}

    def stack(self, pairs: np.ndarray) -> np.ndarray:
        """(2L, ·, ·) levels of the given rows of the plan's pairs."""
        wanted = [int(pair) for pair in pairs]
        self._kept = {
            pair: self._kept[pair] if pair in self._kept else self._read(pair)
            for pair in dict.fromkeys(wanted)
        }
        return stack_fields([self._kept[pair] for pair in wanted])

    def _read(self, pair: int) -> np.ndarray:
        flow = self._flow
        stored = flow.read(int(self._rows[pair]))
        levels = to_levels(stored, flow.scale, flow.offset, self._bound)
        return levels if self._size is None else resize_field(levels, self._size)


def read_chunks(number: int, video: VideoInput, batch_size: int) -> Iterator[Chunk]:
    """Read a video in batches of nearly equal size, `batch_size` at most.

    An `InputError` ends the video with a chunk that carries its message.
    """
    import torch

    seconds: dict[str, float] = {}
    none = np.empty(0, np.int64)
    try:
        with open_flow(video.flow) as flow:
            count = len(snippet_plan(flow, video.plan).frame)
        parts = np.array_split(np.arange(count), -(-count // batch_size))
        with ExitStack() as stack:
            reader = read_snippets(video, np.arange(count), seconds)
            stack.callback(reader.close)  # type: ignore[attr-defined]
            for part in parts:
                items = [next(reader) for _ in part]
                frames = torch.from_numpy(np.stack([frame for _, frame, _ in items]))
                stacks = torch.from_numpy(np.stack([fields for _, _, fields in items]))
                yield Chunk(number, part, frames, stacks, seconds=dict(seconds))
                seconds.clear()
    except InputError as error:
        yield Chunk(number, none, error=str(error), seconds=dict(seconds))


def in_background(chunks: Callable[[], Iterable[Chunk]], depth: int = 2) -> Iterator[Chunk]:
    """Run a reader in a thread of its own, at most `depth` chunks ahead.

    OpenCV, Pillow and NumPy let other threads run meanwhile. An unexpected exception of the
    reader is raised here. Closing the iterator ends the thread.
    """
    ready: queue.Queue[Chunk | BaseException | None] = queue.Queue(maxsize=depth)
    stopping = threading.Event()

    def put(item: Chunk | BaseException | None) -> bool:
        while not stopping.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for chunk in chunks():
                if not put(chunk):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="snippet reader", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopping.set()
        thread.join()

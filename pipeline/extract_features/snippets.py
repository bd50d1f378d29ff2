"""A video's snippets, read in one pass: RGB frame and flow stack, matched by frame index."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.cache.flow import open_flow
from data.errors import InputError
from data.options import PlanOptions
from pipeline.extract_features.cached_flow import read_cached, snippet_plan

if TYPE_CHECKING:
    from pipeline.extract_features.direct_flow import Group, VideoStart
    from pipeline.extract_flow.settings import FlowSettings

__all__ = [
    "Chunk",
    "VideoInput",
    "count_snippets",
    "in_background",
    "read_chunks",
    "read_snippets",
    "snippet_plan",
    "split_batches",
]


@dataclass(frozen=True)
class VideoInput:
    """What a worker needs to read the snippets of one video.

    Flow comes from the cache `flow`, or, where that is None, is computed as `recipe` says: by a
    CPU engine where the video is read, by the CUDA engine where the trunks are.
    """

    key: str
    path: Path
    flow: Path | None
    plan: PlanOptions
    input_size: int
    resize_flow: bool = True  # False: the device resizes the stacks.
    recipe: FlowSettings | None = None
    flow_workers: int = 1  # Threads of a CPU engine.
    save_flow: Path | None = None  # Where to keep flow that is computed.

    @property
    def on_device(self) -> bool:
        """Whether flow is computed on the trunks' device."""
        return self.flow is None and self.recipe is not None and self.recipe.engine == "cuda"


@dataclass
class Chunk:
    """Consecutive snippets of one video, or the reason why there are none."""

    video: int  # Number of the video in the list given.
    rows: np.ndarray  # (B,) int64
    frames: Any = None  # Tensor (B, 3, S, S) uint8 RGB
    stacks: Any = None  # Tensor (B, 2L, S, S) uint8, or (B, 2L, H, W) before resizing
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # "decode", "flow"
    start: VideoStart | None = None  # With the first chunk of a video whose flow is computed.
    raw: Group | None = None  # In place of stacks: what the device computes them from.
    batches: tuple[int, ...] = ()  # Snippets of each batch; () is one batch.

    def pin_memory(self) -> Chunk:
        """Move the tensors to page-locked memory (called by torch's DataLoader)."""
        if self.frames is not None:
            self.frames = self.frames.pin_memory()
        if self.stacks is not None:
            self.stacks = self.stacks.pin_memory()
        if self.raw is not None:
            self.raw.greys = self.raw.greys.pin_memory()
        return self


def count_snippets(video: VideoInput) -> int:
    """Return the number of snippets of a video; InputError where it or its flow is unusable."""
    if video.flow is None:
        from pipeline.extract_features.direct_flow import start_video

        return len(start_video(video).plan.frame)
    with open_flow(video.flow) as flow:
        return len(snippet_plan(flow, video.plan).frame)


def read_snippets(
    video: VideoInput, rows: np.ndarray, seconds: dict[str, float], device: str = "cpu"
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Read snippets of a plan, in order, decoding the video once.

    Parameters
    ----------
    video
        The video and its flow cache, or how its flow is computed.
    rows
        Sorted numbers of the snippets wanted.
    seconds
        The time spent is added under "decode" and "flow" (resizing included).
    device
        Where the CUDA engine runs, if flow is computed by it.

    Yields
    ------
    (row, frame, stack)
        RGB (3, S, S) uint8, and (2L, ·, ·) uint8 levels, u₁ v₁ u₂ v₂ …
    """
    if video.flow is not None:
        yield from read_cached(video, rows, seconds)
        return
    from pipeline.extract_features.direct_flow import read_computed

    yield from read_computed(video, rows, seconds, device)


def split_batches(count: int, batch_size: int) -> list[np.ndarray]:
    """Cut a video's snippets into batches of nearly equal size, `batch_size` at most."""
    return np.array_split(np.arange(count), -(-count // batch_size))


def read_chunks(number: int, video: VideoInput, batch_size: int) -> Iterator[Chunk]:
    """Read a video in batches of nearly equal size, `batch_size` at most.

    An `InputError` ends the video with a chunk that carries its message.
    """
    seconds: dict[str, float] = {}
    try:
        with ExitStack() as stack:
            if video.flow is None:
                from pipeline.extract_features.direct_flow import computed_chunks

                chunks = computed_chunks(number, video, batch_size, seconds)
            else:
                chunks = _cached_chunks(number, video, batch_size, seconds)
            stack.callback(chunks.close)
            yield from chunks
    except InputError as error:
        yield Chunk(number, np.empty(0, np.int64), error=str(error), seconds=dict(seconds))


def _cached_chunks(
    number: int, video: VideoInput, batch_size: int, seconds: dict[str, float]
) -> Generator[Chunk, None, None]:
    import torch

    count = count_snippets(video)
    with ExitStack() as stack:
        reader = read_snippets(video, np.arange(count), seconds)
        stack.callback(reader.close)  # type: ignore[attr-defined]
        for part in split_batches(count, batch_size):
            items = [next(reader) for _ in part]
            frames = torch.from_numpy(np.stack([frame for _, frame, _ in items]))
            stacks = torch.from_numpy(np.stack([fields for _, _, fields in items]))
            yield Chunk(number, part, frames, stacks, seconds=dict(seconds))
            seconds.clear()


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

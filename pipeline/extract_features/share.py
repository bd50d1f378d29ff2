"""The videos of one device: chunks of snippets in, feature caches out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.cache.header import Header
from data.errors import InputError, VideoError
from pipeline.extract_features.device_flow import DeviceFlow, FieldWindow
from pipeline.extract_features.direct_flow import Group, VideoStart, open_window, recipe_of
from pipeline.extract_features.forward import Forward, Pending
from pipeline.extract_features.reading import read_ahead
from pipeline.extract_features.snippets import Chunk, VideoInput
from pipeline.extract_features.writing import OpenCache
from pipeline.shell import console
from pipeline.stage_one.file import load_stage_one
from pipeline.stage_one.networks import Networks


@dataclass(frozen=True)
class VideoJob:
    """One video to do: what to read, what its cache is to say, and where it goes."""

    input: VideoInput
    header: Header
    path: Path
    # Known beforehand where flow is cached; else the reader's scan gives them.
    frame_index: np.ndarray | None  # (S,) int64
    time: np.ndarray | None  # (S,) float64, seconds
    snippets: int  # As far as is known beforehand.

    def started(self, start: VideoStart) -> VideoJob:
        """Return the job with what the scan of the video found.

        Raises
        ------
        VideoError
            The video is no longer the one that was planned.
        """
        found = start.header
        if self.header.source_digest not in ("", found.source_digest):
            raise VideoError(f"{found.source}: changed since the run began; run again")
        names = ("source", "source_size", "source_digest", "decoded_frames", "claimed_frames")
        facts: dict[str, Any] = {name: getattr(found, name) for name in names}
        header = replace(self.header, **facts, rotation=found.rotation, warnings=found.warnings)
        return replace(self, header=header, frame_index=start.plan.frame, time=start.time)


@dataclass(frozen=True)
class FeatureTask:
    """What all videos of a run share; picklable."""

    output: Path
    rgb_weights: str | None
    flow_weights: str | None
    weights: tuple[tuple[str, str], ...]  # Digests, sorted.
    precision: str
    batch_size: int
    keep_streams: bool
    readers: int  # Processes that read videos; 0: one thread.
    map_shape: tuple[int, int, int]
    stream_shape: tuple[int, int, int]


@dataclass
class ShareResult:
    """What became of the videos of a share, and where the time went."""

    done: list[str] = field(default_factory=list)  # Keys.
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    snippets: int = 0

    def spend(self, name: str, since: float) -> float:
        """Add the time since a moment under a name; return the present moment."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - since
        return now


def run_share(
    share: tuple[str, Sequence[VideoJob]],
    task: FeatureTask,
    forward: Forward | None = None,
    advance: Callable[[int], object] = lambda snippets: None,
) -> ShareResult:
    """Do the videos of one device.

    Parameters
    ----------
    share
        The device and its videos.
    task
        What all shares have in common.
    forward
        Stage one on that device; by default loaded from the output folder, once a process.
    advance
        Told the number of snippets after every batch.
    """
    device, videos = share
    if forward is None:
        forward = _forward(task, device)
    return _Share(videos, task, forward, advance).run()


def run_quietly(share: tuple[str, Sequence[VideoJob]], task: FeatureTask) -> ShareResult:
    """Do a share in a worker process, where only warnings are shown."""
    if not console.log.handlers:
        console.configure(verbosity=-1)
    return run_share(share, task)


@lru_cache(maxsize=1)
def _forward(task: FeatureTask, device: str) -> Forward:
    setup = load_stage_one(
        task.output, rgb_weights=task.rgb_weights, flow_weights=task.flow_weights
    )
    if tuple(sorted(setup.weights.items())) != task.weights:
        raise InputError(f"{task.output}: its stage one was replaced during the run; run again")
    return make_forward(setup, task, device)


def make_forward(setup: Networks, task: FeatureTask, device: str) -> Forward:
    """Put stage one on a device as a task wants it."""
    return Forward(
        setup.module,
        device,
        task.precision,
        batch_size=task.batch_size,
        keep_streams=task.keep_streams,
    )


class _Share:
    """The loop: one batch computes while the next is read and the last is written."""

    def __init__(
        self,
        videos: Sequence[VideoJob],
        task: FeatureTask,
        forward: Forward,
        advance: Callable[[int], object],
    ) -> None:
        self.videos = list(videos)
        self.task = task
        self.forward = forward
        self.advance = advance
        self.result = ShareResult()
        self.open: dict[int, OpenCache] = {}
        self.flows: DeviceFlow | None = None
        self.windows: dict[int, FieldWindow] = {}
        self.running: deque[tuple[Chunk, list[Pending]]] = deque()

    def run(self) -> ShareResult:
        """Do all videos; a failing one is dropped without a trace in the output folder."""
        began = waiting = time.perf_counter()
        # On CUDA one batch computes while the one before it is written.
        depth = 1 if self.forward.device.type == "cuda" else 0
        try:
            with closing(self._read()) as chunks:
                for chunk in chunks:
                    self.result.spend("waiting", waiting)
                    for name, seconds in chunk.seconds.items():
                        total = self.result.seconds.get(name, 0.0)
                        self.result.seconds[name] = total + seconds
                    self._guard(chunk, self._submit)
                    while len(self.running) > depth:
                        self._guard(self.running[0][0], self._finish)
                    waiting = time.perf_counter()
            while self.running:
                self._guard(self.running[0][0], self._finish)
        finally:
            for cache in self.open.values():
                cache.abort()
            for window in self.windows.values():
                window.abort()
        self.result.spend("total", began)
        return self.result

    def _read(self) -> Generator[Chunk, None, None]:
        return read_ahead(
            [job.input for job in self.videos],
            self.task.batch_size,
            self.task.readers,
            pin=self.forward.device.type == "cuda",
        )

    def _guard(self, chunk: Chunk, step: Callable[[Chunk], None]) -> None:
        """Do one step of a video, unless it failed before; note when it fails now."""
        key = self.videos[chunk.video].input.key
        if key in self.result.failures:
            self.running = deque(item for item in self.running if item[0].video != chunk.video)
            return
        try:
            step(chunk)
        except InputError as error:
            self.result.failures[key] = str(error)
            console.log.warning("%s: %s", key, error)
            self.running = deque(item for item in self.running if item[0].video != chunk.video)
            if chunk.video in self.open:
                self.open.pop(chunk.video).abort()
            if chunk.video in self.windows:
                self.windows.pop(chunk.video).abort()

    def _submit(self, chunk: Chunk) -> None:
        if chunk.error is not None:
            raise VideoError(chunk.error)
        began = time.perf_counter()
        if chunk.start is not None:
            self.videos[chunk.video] = self.videos[chunk.video].started(chunk.start)
        key = self.videos[chunk.video].input.key
        for note in chunk.start.notes if chunk.start is not None else ():
            console.log.warning("%s: %s", key, note)
        if chunk.raw is not None:
            chunk.stacks = self._stacks(chunk, chunk.raw)
            began = self.result.spend("flow on the device", began)
        parts: list[Pending] = []
        sizes = list(chunk.batches or (len(chunk.rows),))
        for frames, stacks in zip(
            chunk.frames.split(sizes), chunk.stacks.split(sizes), strict=True
        ):
            parts += self.forward.submit(frames, stacks, key)
        chunk.frames = chunk.stacks = chunk.raw = None  # The parts hold what they need.
        self.result.spend("trunks", began)
        self.running.append((chunk, parts))

    def _stacks(self, chunk: Chunk, group: Group) -> Tensor:
        """Compute a chunk's flow on the device that the trunks run on."""
        video = self.videos[chunk.video].input
        if self.flows is None:
            self.flows = DeviceFlow(recipe_of(video).tvl1, self.forward.device)
        if chunk.start is not None:
            self.windows[chunk.video] = open_window(video, chunk.start, self.flows)
        try:
            return self.windows[chunk.video].stacks(group)
        except torch.OutOfMemoryError as error:
            raise VideoError(
                f"{self.forward.device} has no memory for the flow of {len(chunk.rows)} snippets; "
                "use a smaller --batch-size or --short-side"
            ) from error

    def _finish(self, chunk: Chunk) -> None:
        chunk, parts = self.running.popleft()
        rows = iter(chunk.rows)
        for pending in parts:
            began = time.perf_counter()
            maps = self.forward.collect(pending)
            began = self.result.spend("trunks", began)
            cache = self._cache(chunk.video)
            for index in range(len(maps.fused)):
                streams = [None if m is None else m[index] for m in (maps.rgb, maps.flow)]
                cache.put(int(next(rows)), maps.fused[index], *streams)
            self.result.spend("writing", began)
        self.result.snippets += len(chunk.rows)
        self.advance(len(chunk.rows))
        if cache.complete:
            began = time.perf_counter()
            if chunk.video in self.windows:
                self.windows.pop(chunk.video).close()
            self.open.pop(chunk.video).close()
            self.result.done.append(self.videos[chunk.video].input.key)
            self.result.spend("writing", began)

    def _cache(self, video: int) -> OpenCache:
        if video not in self.open:
            job, task = self.videos[video], self.task
            if job.frame_index is None or job.time is None:
                raise ValueError(f"{job.input.key}: expected the plan with the first snippets")
            self.open[video] = OpenCache(
                job.path,
                job.header,
                job.frame_index,
                job.time,
                task.map_shape,
                task.stream_shape if task.keep_streams else None,
            )
        return self.open[video]

"""Snippets of a video whose flow is computed on the way, without a flow cache.

The video is scanned for its time stamps and then decoded once: each frame gives its grey picture
for flow and, where a snippet lies, its colours. A CPU engine computes the fields where the video
is read; for the CUDA engine the grey pictures travel to the device
(`pipeline.extract_features.device_flow`).
Either way the trunks see the 8-bit levels that a flow cache of the same options would hold.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from data.cache.header import Header
from data.errors import VideoError
from data.sampling import SnippetPlan, plan_notes, plan_snippets
from data.video.reading import read_frames, scan
from pipeline.extract_features.device_flow import DeviceFlow, FieldWindow, Flows, cpu_flows
from pipeline.extract_features.flow_keeper import FlowKeeper
from pipeline.extract_features.preprocess import resize_field, resize_frame
from pipeline.extract_features.snippets import Chunk, VideoInput, split_batches
from pipeline.extract_flow.fields import prepare
from pipeline.extract_flow.settings import FlowSettings
from pipeline.extract_flow.video import flow_header, target_size

#: Pairs that a chunk for the device holds at least, if the video has as many: some two for each
#: multiprocessor of a large GPU; and the batches of snippets that it holds at most.
DEVICE_PAIRS = 264
DEVICE_BATCHES = 4


@dataclass(frozen=True)
class VideoStart:
    """What the scan of a video found.

    Attributes
    ----------
    header : Header
        That of the video's flow cache, were one written.
    plan : SnippetPlan
    frame_time : ndarray (F,) float64
        Seconds of every decoded frame.
    size : (int, int)
        Width and height of the fields, px.
    notes : tuple of str
        Where the video cannot give what the options ask for.
    """

    header: Header
    plan: SnippetPlan
    frame_time: np.ndarray
    size: tuple[int, int]
    notes: tuple[str, ...] = ()

    @property
    def time(self) -> np.ndarray:
        """(S,) seconds of each snippet's frame."""
        return self.frame_time[self.plan.frame]


@dataclass
class Group:
    """What the stacks of consecutive snippets are computed from.

    Attributes
    ----------
    greys : Tensor (F, H, W) uint8
        Grey pictures of the pairs' frames.
    pairs : ndarray (P, 2) int64
        First and second frame of each pair, as indices into `greys`.
    pair_rows : ndarray (P,) int64
        Rows of the plan's pairs that these are; pairs of the group before are not repeated.
    fields : ndarray (B, L) int64
        Rows of the plan's pairs in each snippet's stack.
    """

    greys: Tensor
    pairs: np.ndarray
    pair_rows: np.ndarray
    fields: np.ndarray


def start_video(video: VideoInput) -> VideoStart:
    """Scan a video and plan its snippets.

    Raises
    ------
    VideoError
        It cannot be read, or is too short or too small for flow.
    """
    recipe = recipe_of(video)
    info = scan(video.path, strict=recipe.strict)
    try:
        plan = plan_snippets(info.times, video.plan)
    except ValueError as error:
        raise VideoError(f"{video.path}: {error}") from error
    return VideoStart(
        flow_header(info, recipe),
        plan,
        info.times,
        target_size(info, recipe.flow),
        tuple(plan_notes(info.times, info.fps, video.plan)),
    )


def recipe_of(video: VideoInput) -> FlowSettings:
    """Return how a video's flow is to be computed."""
    if video.recipe is None:
        raise ValueError(f"{video.key}: expected how its flow is to be computed")
    return video.recipe


def read_groups(
    video: VideoInput, start: VideoStart, parts: Sequence[np.ndarray], seconds: dict[str, float]
) -> Iterator[tuple[np.ndarray, Group]]:
    """Decode a video once; yield the frames (B, 3, S, S) uint8 and the group of each part.

    Parameters
    ----------
    video, start
        The video and what its scan found.
    parts
        Sorted numbers of the snippets of each part, none twice.
    seconds
        The time spent is added under "decode".
    """
    plan = start.plan
    rows = np.concatenate(parts)
    colours = set(plan.frame[rows].tolist())
    greys = set(plan.pairs[np.unique(plan.fields[rows])].ravel().tolist())
    frames = read_frames(video.path, np.array(sorted(colours | greys), np.int64))
    held: dict[int, np.ndarray] = {}  # Grey pictures by frame.
    shown: dict[int, np.ndarray] = {}  # RGB at input size by frame.
    read, done = -1, -1  # Last frame read, last row of the pairs given out.
    for part in parts:
        began = time.perf_counter()
        fields = plan.fields[part]
        new = np.unique(fields[fields > done])
        pairs = plan.pairs[new]
        last = max(int(plan.frame[part].max()), int(pairs.max(initial=-1)))
        while read < last:
            read, frame = next(frames)
            if read in greys:
                held[read] = prepare(frame, start.size)
            if read in colours:
                shown[read] = resize_frame(frame, video.input_size)
        index = np.unique(pairs)
        pictures = [held[int(i)] for i in index] or [np.empty(start.size[::-1], np.uint8)]
        group = Group(
            torch.from_numpy(np.stack(pictures)), np.searchsorted(index, pairs), new, fields
        )
        done = int(new.max(initial=done))
        later = int(plan.pairs[min(done + 1, len(plan.pairs) - 1), 0])
        held = {i: grey for i, grey in held.items() if i >= later}
        pictures_of_part = np.stack([shown.pop(int(i)) for i in plan.frame[part]])
        _spend(seconds, "decode", began)
        yield pictures_of_part, group


def computed_chunks(
    number: int, video: VideoInput, batch_size: int, seconds: dict[str, float]
) -> Generator[Chunk, None, None]:
    """Read a video in batches; with finished stacks, or with what the device makes them from."""
    cv2.setNumThreads(1)
    began = time.perf_counter()
    start = start_video(video)
    _spend(seconds, "decode", began)
    batches = split_batches(len(start.plan.frame), batch_size)
    first: VideoStart | None = start  # Sent once.
    if video.on_device:
        together = _for_device(batches, start.plan)
        parts = [np.concatenate(group) for group in together]
        for part, cut, (frames, raw) in zip(
            parts, together, read_groups(video, start, parts, seconds), strict=True
        ):
            sizes = tuple(len(batch) for batch in cut)
            yield Chunk(
                number, part, torch.from_numpy(frames), None, None, dict(seconds), first, raw, sizes
            )  # fmt: skip
            first = None
            seconds.clear()
        return
    with ExitStack() as stack:
        window = open_window(video, start, _cpu(video))
        stack.push(window)
        groups = read_groups(video, start, batches, seconds)
        for part, (frames, raw) in zip(batches, groups, strict=True):
            began = time.perf_counter()
            stacks = window.stacks(raw)
            _spend(seconds, "flow", began)
            if part is batches[-1]:
                window.close()
            yield Chunk(
                number, part, torch.from_numpy(frames), stacks, None, dict(seconds), first
            )  # fmt: skip
            first = None
            seconds.clear()


def _for_device(batches: list[np.ndarray], plan: SnippetPlan) -> list[list[np.ndarray]]:
    """Join batches until a chunk has pairs enough for a device."""
    together: list[list[np.ndarray]] = []
    pairs = DEVICE_PAIRS
    for batch in batches:
        if pairs >= DEVICE_PAIRS or len(together[-1]) == DEVICE_BATCHES:
            together.append([])
            pairs = 0
        together[-1].append(batch)
        pairs += len(np.unique(plan.fields[batch]))
    return together


def open_window(video: VideoInput, start: VideoStart, flows: Flows) -> FieldWindow:
    """Return the window over a video's fields, which keeps their cache where that is wanted."""
    recipe = recipe_of(video)
    keeper = None
    if video.save_flow is not None:
        keeper = FlowKeeper(
            video.save_flow, start.header, start.plan.pairs, start.frame_time, recipe.flow
        )
    resize = None
    if video.resize_flow:
        size = video.input_size

        def resize(levels: Tensor) -> Tensor:
            fields = [resize_field(field, size) for field in levels.cpu().numpy()]
            return torch.from_numpy(np.stack(fields))

    return FieldWindow(video.key, flows, recipe.flow, resize, keeper)


def read_computed(
    video: VideoInput, rows: np.ndarray, seconds: dict[str, float], device: str
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Read snippets as `read_snippets` does, computing the flow they need.

    Nothing is kept of it: the cache of a video needs all its pairs.
    """
    recipe = recipe_of(video)
    video = replace(video, save_flow=None)
    start = start_video(video)
    flows = DeviceFlow(recipe.tvl1, device) if video.on_device else _cpu(video)
    # A few at a time on a CPU; on a device all at once, for it needs many pairs.
    parts = [rows] if video.on_device else np.array_split(rows, -(-len(rows) // 4))
    with open_window(video, start, flows) as window:
        for part, (frames, group) in zip(
            parts, read_groups(video, start, parts, seconds), strict=True
        ):
            began = time.perf_counter()
            stacks = window.stacks(group).cpu().numpy()
            _spend(seconds, "flow", began)
            for row, frame, stack in zip(part, frames, stacks, strict=True):
                yield int(row), frame, stack


def _cpu(video: VideoInput) -> Flows:
    recipe = recipe_of(video)
    return cpu_flows(recipe.engine, recipe.tvl1, video.flow_workers)


def _spend(seconds: dict[str, float], name: str, since: float) -> None:
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - since

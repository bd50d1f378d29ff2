"""A video's snippets, read in one pass: RGB frame and flow stack, matched by frame index.

Frames and flow fields become the square 8-bit inputs of the trunks by Pillow's bicubic filter, as
torchvision's transforms do for images; the aspect is not kept. ÷255 and the ImageNet mean and
deviation follow on the device (`model.features.stage_one.StageOne`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from data.cache.flow import FlowCache, dequantise, open_flow, quantise
from data.cache.folder import cache_path
from data.cache.header import Header
from data.errors import CacheError, VideoError
from data.options import PlanOptions
from data.sampling import SnippetPlan, plan_snippets
from data.sources import Source
from data.video.reading import read_frames
from pipeline.extract_features.settings import FeatureSettings


@dataclass(frozen=True)
class VideoInput:
    """What is needed to read the snippets of one video."""

    key: str
    path: Path
    flow: Path  # Its flow cache.
    plan: PlanOptions
    input_size: int
    resize_flow: bool = True  # False: the device resizes the stacks.


@dataclass(frozen=True)
class VideoJob:
    """One video to compute: what to read, its snippets, and its feature cache."""

    input: VideoInput
    path: Path
    header: Header
    frame_index: np.ndarray  # (S,) int64
    time: np.ndarray  # (S,) float64, seconds


@dataclass
class Chunk:
    """Consecutive snippets of one video, or the reason why there are none."""

    video: int  # Number of the video in the list given.
    rows: np.ndarray  # (B,) int64
    frames: Any = None  # Tensor (B, 3, S, S) uint8 RGB
    stacks: Any = None  # Tensor (B, 2L, S, S) uint8, or (B, 2L, H, W) before resizing
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # "decode", "flow"


def video_input(
    source: Source, settings: FeatureSettings, *, resize_flow: bool = True
) -> VideoInput:
    """Return what is needed to read a video's snippets."""
    return VideoInput(
        source.key,
        source.path,
        cache_path(settings.flow, source.key),
        settings.plan,
        settings.trunk.input_size,
        resize_flow,
    )


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


def resize_frame(frame: np.ndarray, size: int) -> np.ndarray:
    """Resize a BGR frame (H, W, 3) uint8, as OpenCV decodes it, to RGB (3, size, size) uint8."""
    rgb = Image.fromarray(np.ascontiguousarray(frame[:, :, ::-1]))
    resized = np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(resized.transpose(2, 0, 1))


def resize_field(levels: np.ndarray, size: int) -> np.ndarray:
    """Resize a field of 8-bit levels (2, H, W), u then v, to (2, size, size)."""
    resized = [
        Image.fromarray(component).resize((size, size), Image.Resampling.BICUBIC)
        for component in levels
    ]
    return np.stack([np.asarray(component) for component in resized])


def to_levels(values: np.ndarray, scale: float, offset: float, bound: float) -> np.ndarray:
    """Return a stored field as 8-bit levels; float16 fields are quantised as uint8 caches are.

    Parameters
    ----------
    values : ndarray (2, H, W) uint8 or float16
    scale, offset : float
        Of the cache: px = (value − offset) · scale.
    bound : float
        Displacement in px of the highest level.
    """
    if values.dtype == np.uint8:
        return values
    return quantise(dequantise(values, scale, offset), bound)


class _Stacks:
    """Flow stacks of one video; consecutive stacks share the fields they have in common."""

    def __init__(self, flow: FlowCache, rows: np.ndarray, video: VideoInput) -> None:
        self._flow = flow
        self._rows = rows
        self._size = video.input_size if video.resize_flow else None
        self._bound = _flow_bound(flow.header)
        self._fields: dict[int, np.ndarray] = {}  # By row of the plan's pairs.

    def read(self, pairs: Sequence[int]) -> np.ndarray:
        """Stack u₁ v₁ u₂ v₂ … (2L, ·, ·) uint8 of the given rows of the plan's pairs."""
        self._fields = {
            pair: self._fields[pair] if pair in self._fields else self._read_field(pair)
            for pair in dict.fromkeys(pairs)
        }
        return np.concatenate([self._fields[pair] for pair in pairs])

    def _read_field(self, pair: int) -> np.ndarray:
        flow = self._flow
        values = flow.read(int(self._rows[pair]))
        levels = to_levels(values, flow.scale, flow.offset, self._bound)
        return levels if self._size is None else resize_field(levels, self._size)


def _flow_bound(header: Header) -> float:
    options = header.parameters.get("flow")
    if not isinstance(options, dict) or "bound" not in options:
        raise CacheError(
            f"the flow cache of {header.source} does not record its bound; recreate it"
        )
    return float(options["bound"])


def read_snippets(
    video: VideoInput, rows: np.ndarray, seconds: dict[str, float]
) -> Generator[tuple[int, np.ndarray, np.ndarray], None, None]:
    """Read snippets of a plan, in order, decoding the video once.

    Parameters
    ----------
    video
        The video and its flow cache.
    rows
        Sorted numbers of the snippets.
    seconds
        The time spent is added under "decode" and "flow" (resizing included).

    Yields
    ------
    (row, frame, stack)
        RGB (3, S, S) uint8, and (2L, ·, ·) uint8 levels, u₁ v₁ u₂ v₂ …
    """
    with open_flow(video.flow) as flow:
        plan = snippet_plan(flow, video.plan)
        stacks = _Stacks(flow, flow.rows(plan.pairs), video)
        began = perf_counter()
        wanted = plan.frame[rows]
        frames = read_frames(video.path, wanted, flow.frame_time[wanted])
        for row, (index, frame) in zip(rows, frames, strict=True):
            if index != plan.frame[row]:
                raise VideoError(f"{video.path}: expected frame {plan.frame[row]}, got {index}")
            resized = resize_frame(frame, video.input_size)
            decoded = perf_counter()
            stack = stacks.read(plan.fields[row].tolist())
            seconds["decode"] = seconds.get("decode", 0.0) + decoded - began
            seconds["flow"] = seconds.get("flow", 0.0) + perf_counter() - decoded
            yield int(row), resized, stack
            began = perf_counter()


def count_snippets(video: VideoInput) -> int:
    """Return the number of snippets of a video; InputError where its flow is unusable."""
    with open_flow(video.flow) as flow:
        return len(snippet_plan(flow, video.plan).frame)

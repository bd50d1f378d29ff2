"""Snippets of a video whose flow lies in a cache."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from data.cache.flow import FlowCache, open_flow
from data.cache.header import Header
from data.errors import CacheError, VideoError
from data.options import PlanOptions
from data.sampling import SnippetPlan, plan_snippets
from data.video.reading import read_frames
from pipeline.extract_features.preprocess import resize_field, resize_frame, stack_fields, to_levels

if TYPE_CHECKING:
    from pipeline.extract_features.snippets import VideoInput


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


def read_cached(
    video: VideoInput, rows: np.ndarray, seconds: dict[str, float]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Read snippets as `read_snippets` does, with flow from a cache."""
    if video.flow is None:
        raise ValueError(f"{video.key}: expected a video with a flow cache")
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

"""Which videos of a batch run side by side, and which are split over their pairs."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.options import FlowOptions, PlanOptions
from data.sampling import plan_snippets
from data.video.claims import claimed_shape

#: Share of the workers' time that a schedule may leave unused before more videos are split.
IDLE_SHARE = 0.05
#: Cost of decoding one source pixel relative to the flow of one pixel.
DECODE_COST = 0.004


def planned_pairs(frames: int, fps: float, plan: PlanOptions) -> int:
    """Pairs that a plan takes from a video of even frame rate; 0 when it is too short."""
    try:
        return len(plan_snippets(np.arange(frames) / fps, plan).pairs)
    except ValueError:
        return 0


def estimated_cost(path: Path, plan: PlanOptions, flow: FlowOptions) -> float:
    """Work of one video, in pixels of flow; 0 when its header does not say."""
    shape = claimed_shape(path)
    if shape is None:
        return 0.0
    frames, width, height, fps = shape
    flow_width, flow_height = flow.target_size(width, height)
    computed = planned_pairs(frames, fps, plan) * flow_width * flow_height
    return computed + DECODE_COST * 2 * frames * width * height


def split_longest(costs: Sequence[float], workers: int) -> list[int]:
    """Choose the videos to split over their pairs, so that no worker waits for a straggler.

    The others run one a worker, longest first. As few videos as possible are split, because the
    one reader of a split video is a bottleneck that separate videos do not have.

    Parameters
    ----------
    costs : sequence of float
        Estimated work of each video.
    workers : int

    Returns
    -------
    list of int
        Indices of the videos to split, longest first.
    """
    order = sorted(range(len(costs)), key=lambda index: -costs[index])
    ideal = sum(costs) / workers
    for count in range(len(order)):
        split = sum(costs[index] for index in order[:count]) / workers
        whole = split + _makespan([costs[index] for index in order[count:]], workers)
        if whole * (1 - IDLE_SHARE) <= ideal:
            return order[:count]
    return order


def _makespan(costs: Sequence[float], workers: int) -> float:
    """Time until the last of the workers is done when each takes the longest video left."""
    loads = [0.0] * workers
    for cost in costs:
        heapq.heapreplace(loads, loads[0] + cost)
    return max(loads)

"""The maps that all runs of one worker share: read once, in memory or mapped from a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

from data.judgements.dataset import Span
from model.ranker.build import NEED_STREAMS
from model.ranker.videos import VideoMaps
from pipeline.evaluate.runs import CrossValidation
from pipeline.runs.maps import (
    MEMORY_SHARE,
    FeatureSet,
    find_feature_set,
    free_memory,
    read_maps,
)
from pipeline.runs.spans import within_spans


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: more make so small a network slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def maps_of(plan: CrossValidation, variant: str) -> tuple[FeatureSet, VideoMaps]:
    """Return the maps of all judged videos that a variant looks at.

    Each worker may fill its share of the memory that was free; beyond it the maps are mapped from
    a nameless file in the output folder.
    """
    return _maps(
        plan.features,
        plan.keys,
        tuple(plan.spans.items()),
        plan.ranker.segments,
        variant in NEED_STREAMS,
        plan.snippet_stride,
        plan.digest,
        plan.output,
        plan.workers,
    )


# One entry: a worker's runs use the same maps, and two sets may not fit into memory.
@lru_cache(maxsize=1)
def _maps(
    features: Path,
    keys: tuple[str, ...],
    spans: tuple[tuple[str, Span], ...],
    segments: int,
    streams: bool,
    stride: int,
    digest: str,
    scratch: Path,
    workers: int,
) -> tuple[FeatureSet, VideoMaps]:
    """Read the maps once for all runs of a worker; `digest` makes changed caches other maps."""
    found = find_feature_set(features, keys, segments, streams=streams, snippet_stride=stride)
    found = within_spans(found, dict(spans), segments)
    free = free_memory()
    limit = None if free is None else int(MEMORY_SHARE * free / workers)
    return found, read_maps(found, memory_limit=limit, scratch=scratch)

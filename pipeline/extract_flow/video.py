"""The flow cache of one video: scan, plan, compute every pair once, write.

Nothing holds a video: frames stream from one reader, and fields are written in order as they come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data.cache.flow import create_flow, open_flow
from data.cache.folder import cache_path
from data.cache.header import Header, recorded_path
from data.errors import InputError, VideoError
from data.options import FlowOptions
from data.sampling import plan_notes, plan_snippets
from data.sources import Source
from data.video.info import VideoInfo
from data.video.reading import scan
from model.tvl1.frames import MIN_SIDE
from pipeline.extract_flow.fields import compute_fields, read_pairs
from pipeline.extract_flow.settings import FlowSettings
from pipeline.runner.files import check_room
from pipeline.shell.console import progress

#: Share of clipped flow values from which a larger bound is suggested.
CLIPPED_NOTICE = 0.01


@dataclass(frozen=True)
class FlowResult:
    """What became of one video: its cache, and what was odd about it."""

    path: Path
    frames: int
    rows: int  # Stored fields.
    computed: bool  # False when a valid cache already existed.
    clipped: float  # Share of the values beyond the bound.
    warnings: tuple[str, ...]


def extract_one(
    source: Source, settings: FlowSettings, output: Path, workers: int = 1
) -> FlowResult:
    """Compute the flow cache of one video, `workers` pairs at a time.

    Raises
    ------
    VideoError
        The video cannot be read, or is too short or too small for flow.
    CacheError
        The cache cannot be written.
    """
    cv2.setNumThreads(1)
    path = cache_path(output, source.key)
    check_room(path)
    info = scan(source.path, strict=settings.strict, threads=workers)
    try:
        pairs = plan_snippets(info.times, settings.plan).pairs
    except ValueError as error:
        raise VideoError(f"{source.path}: {error}") from error
    size = target_size(info, settings.flow)
    with _threads(workers) as pool:
        frames = read_pairs(source.path, pairs, size, info.times)
        fields = compute_fields(frames, settings, pool, workers, source.key)
        if pool is not None:  # Alone at work: its pairs are shown, not its place among videos.
            fields = progress(fields, total=len(pairs), desc=source.key, unit="pair")
        try:
            clipped = _write(path, info, settings, pairs, fields)
        except InputError:
            raise
        except ValueError as error:  # Of the engine.
            raise VideoError(f"{source.path}: {error}") from error
    notes = (*info.warnings, *plan_notes(info.times, info.fps, settings.plan))
    notes += clipped_notice(clipped, settings.flow.bound)
    return FlowResult(path, info.frames, len(pairs), True, clipped, notes)


@contextmanager
def _threads(count: int) -> Iterator[Executor | None]:
    """Threads that end with the block; None for a single one, which is this thread."""
    if count == 1:
        yield None
        return
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _write(
    path: Path,
    info: VideoInfo,
    settings: FlowSettings,
    pairs: np.ndarray,
    fields: Iterable[np.ndarray],
) -> float:
    """Store the fields as they come; return the share of their values beyond the bound."""
    width, height = target_size(info, settings.flow)
    with create_flow(
        path,
        flow_header(info, settings),
        pairs=pairs,
        frame_time=info.times,
        height=height,
        width=width,
        bound=settings.flow.bound,
        dtype=settings.flow.dtype,
    ) as writer:
        for row, field in enumerate(fields):
            check_room(path)
            writer.put(row, field)
    return writer.clipped


def describe(path: Path, bound: float) -> FlowResult:
    """Return what is known of a valid cache that already exists."""
    with open_flow(path) as flow:
        header, rows, clipped = flow.header, len(flow), flow.clipped
    notes = header.warnings + clipped_notice(clipped, bound)
    return FlowResult(path, header.decoded_frames, rows, False, clipped, notes)


def clipped_notice(share: float, bound: float) -> tuple[str, ...]:
    """Return a notice where much of a video's flow lies beyond the bound."""
    if share <= CLIPPED_NOTICE:
        return ()
    return (
        f"{100 * share:.1f} % of the flow lies beyond the bound of {bound:g} px; a larger --bound"
        " keeps it",
    )


def target_size(info: VideoInfo, options: FlowOptions) -> tuple[int, int]:
    """Width and height of the fields; VideoError when no flow can be computed at that size."""
    width, height = options.target_size(info.width, info.height)
    if min(width, height) >= MIN_SIDE:
        return width, height
    size = f"{info.width}x{info.height}"
    if (width, height) != (info.width, info.height):
        size += f", which --short-side {options.short_side} makes {width}x{height}"
    raise VideoError(
        f"{info.path}: flow needs frames of at least {MIN_SIDE}x{MIN_SIDE} px, found {size};"
        " enlarge them with --size"
    )


def flow_header(info: VideoInfo, settings: FlowSettings) -> Header:
    """Header of a video's flow cache."""
    return Header(
        kind="flow",
        source=recorded_path(info.path),
        source_size=info.size,
        source_digest=info.digest,
        decoded_frames=info.frames,
        claimed_frames=info.claimed_frames,
        rotation=info.rotation,
        parameters=settings.parameters,
        versions=settings.versions,
        warnings=info.warnings,
    )

"""Flow of one video, in a worker: scan, plan, compute every pair once, write one cache.

Nothing holds a video: frames stream from one reader, at most a few pairs a worker are under way,
and fields are written in order as they come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from data.cache.flow import create_flow
from data.cache.folder import cache_path
from data.cache.header import Header
from data.errors import InputError, VideoError
from data.options import FlowOptions, PlanOptions
from data.sampling import plan_notes, plan_snippets
from data.sources import Source
from data.video.info import VideoInfo
from data.video.reading import scan
from model.tvl1.frames import MIN_SIDE
from pipeline.extract_flow.fields import compute_fields, worker_threads
from pipeline.extract_flow.frames import read_pairs
from pipeline.extract_flow.settings import FlowResult, FlowTask
from pipeline.runner.disk_room import check_room
from pipeline.runner.interrupts import check_interrupts
from pipeline.shell.console import progress


def extract_one(source: Source, task: FlowTask, workers: int = 1) -> FlowResult:
    """Compute the flow cache of one video.

    Parameters
    ----------
    source : Source
    task : FlowTask
    workers : int
        Pairs computed at the same time, in threads; with 1 everything runs in this thread.

    Raises
    ------
    VideoError
        The video cannot be read, or is too short or too small for flow.
    CacheError
        The cache cannot be written.
    """
    cv2.setNumThreads(1)
    path = cache_path(task.output, source.key)
    check_room(path)
    start = time.perf_counter()
    with worker_threads(workers) as executor:
        info = scan(source.path, strict=task.strict, threads=workers)
        pairs = pairs_of(info, task.plan)
        notes = plan_notes(info.times, info.fps, task.plan)
        size = target_size(info, task.flow)
        scanned = time.perf_counter()
        frames = read_pairs(source.path, pairs, size)
        fields = compute_fields(frames, task, executor, workers, source.key)
        with _progress(source, len(pairs), workers) as advance:
            try:
                clipped = _write(path, info, task, pairs, size, fields, advance)
            except InputError:
                raise
            except ValueError as error:  # the engine's
                raise VideoError(f"{source.path}: {error}") from error
    return FlowResult(
        path=path,
        frames=info.frames,
        pairs=len(pairs),
        computed=True,
        clipped=clipped,
        warnings=(*info.warnings, *notes),
        scan_s=scanned - start,
        flow_s=time.perf_counter() - scanned,
    )


def _write(
    path: Path,
    info: VideoInfo,
    task: FlowTask,
    pairs: np.ndarray,
    size: tuple[int, int],
    fields: Iterable[np.ndarray],
    advance: Callable[[], object],
) -> float:
    """Store the fields as they come; return the share of their values beyond the bound."""
    with create_flow(
        path,
        flow_header(info, task),
        pairs=pairs,
        frame_time=info.times,
        height=size[1],
        width=size[0],
        bound=task.flow.bound,
        dtype=task.flow.dtype,
    ) as writer:
        for row, field in enumerate(fields):
            check_room(path)
            writer.put(row, field)
            advance()
            check_interrupts()
    return writer.clipped


def pairs_of(info: VideoInfo, plan: PlanOptions) -> np.ndarray:
    """(P, 2) int64 frames of each pair; VideoError where the video is too short for any."""
    try:
        return plan_snippets(info.times, plan).pairs
    except ValueError as error:
        raise VideoError(f"{info.path}: {error}") from error


def target_size(info: VideoInfo, options: FlowOptions) -> tuple[int, int]:
    """Width and height of the fields; VideoError when no flow can be computed at that size."""
    width, height = options.target_size(info.width, info.height)
    if min(width, height) >= MIN_SIDE:
        return width, height
    found = f"found {info.width}x{info.height}"
    if (width, height) != (info.width, info.height):
        found += f", which --short-side {options.short_side} makes {width}x{height}"
    raise VideoError(
        f"{info.path}: flow needs frames of at least {MIN_SIDE}x{MIN_SIDE} px, {found};"
        " enlarge them with --size"
    )


def flow_header(info: VideoInfo, task: FlowTask) -> Header:
    """Header of a video's flow cache."""
    return Header(
        kind="flow",
        # A name in no encoding that HDF5 can store is written with escapes.
        source=os.fsencode(info.path.absolute()).decode("utf-8", "backslashreplace"),
        source_size=info.size,
        source_digest=info.digest,
        decoded_frames=info.frames,
        claimed_frames=info.claimed_frames,
        rotation=info.rotation,
        parameters=task.parameters,
        versions=task.versions,
        warnings=info.warnings,
    )


@contextmanager
def _progress(source: Source, pairs: int, workers: int) -> Iterator[Callable[[], object]]:
    """Show pairs as they are done where this video has all workers; otherwise videos are shown."""
    if workers == 1:
        yield lambda: None
        return
    with progress(total=pairs, desc=source.key, unit="pair") as bar:
        yield bar.update

"""Sampling plans: which frames and flow fields make a video's snippets.

Pure functions of integers and time stamps. The *timeline* is the list of source frames that a plan
looks at: all of them, thinned by time stamps to `fps` and then to every `frame_step`-th. A flow
field runs from one frame of the timeline to the next. The window of the snippet at position t of
the timeline is the L fields from position t − ⌊L/2⌋ to t + ⌈L/2⌉ (paper: t−5 … t+5 for L = 10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.options import PlanOptions

Indices = NDArray[np.int64]

# Two frames at the target rate, stamped in whole milliseconds (webm, mkv), may be closer by this.
_STAMP_ROUNDING = 1e-3
# Users ask for rates such as 30000/1001 as 29.97 or 30.
_RATE_ROUNDING = 2e-3


@dataclass(frozen=True, kw_only=True)
class SnippetPlan:
    """The snippets of one video; every index counts frames of the source video.

    Attributes
    ----------
    frame
        (S,) int64, the RGB frame of each snippet; strictly increasing.
    fields
        (S, L) int64, the row of `pairs` of each flow field of the stack, in time order.
    pairs
        (P, 2) int64, the distinct (first, second) frames that flow is needed between; sorted.
    """

    frame: Indices
    fields: Indices
    pairs: Indices


def plan_snippets(times: NDArray[np.float64], options: PlanOptions) -> SnippetPlan:
    """Choose the snippets of a video.

    Plan `segments` takes up to `candidates` frames spread evenly over each of `segments` equal
    spans of the whole video; a frame is never taken twice, so short videos give fewer snippets. A
    window that would reach over an end of the video is moved inside; its frame stays where it is.
    Plan `dense` takes every `stride`-th frame of the timeline whose whole window fits, or the
    middle frame where none does.
    A timeline of fewer than L + 1 frames holds no whole window: the fields before its first and
    after its last are then the first and last field again.

    Parameters
    ----------
    times
        (F,) float64, non-decreasing time stamps in seconds of the decoded frames.
    options
        The plan.

    Raises
    ------
    ValueError
        Fewer than two frames are left to compute flow between.
    """
    line = timeline(times, options)
    if len(line) < 2:
        raise ValueError(
            f"flow needs at least two frames, found {_frame_counts(len(line), len(times))}"
        )
    if options.plan == "dense":
        at = _dense_positions(len(line), options)
    else:
        at = _segment_positions(line, len(times), options)
    starts = _field_positions(at, len(line), options.stack_length)
    used, rows = np.unique(starts, return_inverse=True)
    return SnippetPlan(
        frame=line[at],
        fields=rows.reshape(starts.shape).astype(np.int64),
        pairs=np.stack([line[used], line[used + 1]], axis=1),
    )


def plan_notes(times: NDArray[np.float64], fps: float, options: PlanOptions) -> list[str]:
    """List what the options ask for and a video cannot give, one line each.

    Parameters
    ----------
    times
        (F,) float64 seconds of the decoded frames.
    fps
        Frames a second of the video.
    options
        The plan.
    """
    line = timeline(times, options)
    notes = []
    if options.fps is not None and options.fps > fps * (1 + _RATE_ROUNDING):
        notes.append(
            f"--fps {options.fps:g} asked, the video has {fps:.4g}: all its frames are taken"
        )
    if len(line) <= options.stack_length:
        notes.append(
            f"{len(line)} frames are fewer than a stack of {options.stack_length} fields needs: "
            "the first and last fields are repeated"
        )
    return notes


def _frame_counts(left: int, frames: int) -> str:
    """All frames, and how many of them the options leave."""
    thinned = f"; --fps and --frame-step leave {left} of them" if left < frames else ""
    return f"{frames}{thinned}"


def timeline(times: NDArray[np.float64], options: PlanOptions) -> Indices:
    """Source frames that a plan looks at, in order and each at most once.

    With `fps`, tick k lies k / fps seconds after the first frame and takes the latest frame shown
    by then; ticks that show the same frame take it once, so no frame is invented for a slower
    video.
    """
    stamps = np.asarray(times, dtype=np.float64)
    if stamps.ndim != 1:
        raise ValueError(f"time stamps have one axis, got shape {stamps.shape}")
    if not np.isfinite(stamps).all() or (np.diff(stamps) < 0).any():
        raise ValueError("time stamps must be finite and never go back")
    line = np.arange(len(stamps), dtype=np.int64)
    if options.fps is not None and len(stamps):
        line = _thin(stamps - stamps[0], options.fps)
    return line[:: options.frame_step]


def _thin(elapsed: NDArray[np.float64], fps: float) -> Indices:
    """Latest frame at each tick of `fps`, without repeats.

    Ticks are found from the frames (a frame is shown at ticks ⌈t·fps⌉ up to the next frame's), so
    that the cost does not depend on how long a still stands. The last frame stands for as long as
    frames do on the average.
    """
    slack = min(_STAMP_ROUNDING * fps, 0.25)
    end = elapsed[-1] * len(elapsed) / max(len(elapsed) - 1, 1)
    first_tick = np.ceil(np.append(elapsed, end) * fps - slack)
    shown = np.diff(first_tick) > 0
    shown[-1] |= not shown.any()  # all stamps are the same
    return np.flatnonzero(shown).astype(np.int64)


def _dense_positions(n: int, options: PlanOptions) -> Indices:
    """Timeline positions of every `stride`-th snippet whose window fits into n frames."""
    before = options.stack_length // 2
    after = options.stack_length - before
    at = np.arange(before, n - after, options.stride, dtype=np.int64)
    return at if len(at) else np.array([n // 2], dtype=np.int64)


def _segment_positions(line: Indices, n_frames: int, options: PlanOptions) -> Indices:
    """Timeline positions of the candidates, spread evenly over each span's own frames."""
    segment = segment_of(line, n_frames, options.segments)
    spans = np.arange(options.segments)
    start = np.searchsorted(segment, spans, side="left")
    count = np.searchsorted(segment, spans, side="right") - start
    # The middles of M equal parts of each span; fewer frames than candidates repeat, once is kept.
    part = 2 * np.arange(options.candidates) + 1
    within = count[:, None] * part // (2 * options.candidates)
    return np.unique((start[:, None] + within)[count > 0]).astype(np.int64)


def _field_positions(at: Indices, n: int, length: int) -> Indices:
    """(S, L) timeline position of the first frame of each field of each snippet."""
    start = at - length // 2
    if n > length:
        start = np.clip(start, 0, n - 1 - length)
    return np.clip(start[:, None] + np.arange(length), 0, n - 2)


def segment_of(frame_index: Indices, n_frames: int, n_segments: int) -> Indices:
    """(S,) number of the equal span of the video, 0 … N−1, that each frame lies in.

    Raises
    ------
    ValueError
        A frame lies outside the video.
    """
    frames = np.asarray(frame_index, dtype=np.int64)
    if n_segments < 1:
        raise ValueError(f"n_segments must be at least 1, got {n_segments}")
    if len(frames) and (frames.min() < 0 or frames.max() >= n_frames):
        raise ValueError(
            f"frames {frames.min()} to {frames.max()} do not lie in a video of {n_frames} frames"
        )
    return frames * n_segments // max(n_frames, 1)

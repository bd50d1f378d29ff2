"""Sampling of cached snippets written plainly, a video at a time: an oracle for the ranker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def draw_train(segment: Indices, n_segments: int, rng: np.random.Generator) -> Indices:
    """(N,) cached snippet for each segment, drawn evenly from those in it.

    A segment without a snippet takes the nearest one, as in `pick_test`. Rows never go back in
    time. Each call takes N numbers from `rng`, whatever the video.
    """
    start, count, nearest = _rows_by_segment(segment, n_segments)
    drawn = start + rng.integers(0, np.maximum(count, 1))
    return np.where(count > 0, drawn, nearest).astype(np.int64)


def pick_test(segment: Indices, n_segments: int) -> Indices:
    """(N,) last cached snippet of each segment (authors' code).

    A segment without a snippet takes the nearest one by segment number, the earlier if two are
    equally near.
    """
    start, count, nearest = _rows_by_segment(segment, n_segments)
    return np.where(count > 0, start + count - 1, nearest).astype(np.int64)


def _rows_by_segment(segment: Indices, n_segments: int) -> tuple[Indices, Indices, Indices]:
    """First row, number of rows, and nearest row of each segment; each (N,)."""
    rows = np.asarray(segment, dtype=np.int64)
    if len(rows) == 0:
        raise ValueError("a video needs at least one cached snippet, got none")
    if (np.diff(rows) < 0).any() or rows[0] < 0 or rows[-1] >= n_segments:
        raise ValueError(f"segment numbers must be sorted and lie in 0 … {n_segments - 1}")
    wanted = np.arange(n_segments)
    start = np.searchsorted(rows, wanted, side="left")
    end = np.searchsorted(rows, wanted, side="right")
    before = np.maximum(end - 1, 0)
    after = np.minimum(start, len(rows) - 1)
    earlier = np.abs(wanted - rows[before]) <= np.abs(rows[after] - wanted)
    return start, end - start, np.where(earlier, before, after)


def authors_train(n_snippets: int, n_segments: int, rng: np.random.Generator) -> Indices:
    """(N,) cached snippets as the authors' code draws them for training.

    With r = ⌊S/N⌋, [0, S) is cut into ⌈S/r⌉ bins of r (the last may be shorter), one snippet is
    drawn from each, and the last N are kept: the first S mod N snippets or more are never seen.
    Defined here also for S < N, where theirs divides by zero: as in `authors_test`.
    """
    r = _authors_bin(n_snippets, n_segments)
    if r == 0:
        return authors_test(n_snippets, n_segments)
    low = np.arange(0, n_snippets, r)
    return rng.integers(low, np.minimum(low + r, n_snippets))[-n_segments:].astype(np.int64)


def authors_test(n_snippets: int, n_segments: int) -> Indices:
    """(N,) cached snippets as the authors' code takes them for testing: S−1, S−1−r, … in order.

    Defined here also for S < N, where theirs divides by zero: segment n takes snippet ⌊n·S/N⌋, so
    that each is repeated about N/S times.
    """
    r = _authors_bin(n_snippets, n_segments)
    steps = np.arange(n_segments, dtype=np.int64)
    if r == 0:
        return steps * n_snippets // n_segments
    return n_snippets - 1 - r * steps[::-1]


def _authors_bin(n_snippets: int, n_segments: int) -> int:
    """Bin length r = ⌊S/N⌋ of the authors' sampling; 0 when S < N."""
    if n_snippets < 1 or n_segments < 1:
        raise ValueError(
            f"at least one snippet and one segment are needed, got {n_snippets} and {n_segments}"
        )
    return n_snippets // n_segments

"""Videos of which only a part was judged: use the snippets of that part alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.cache.features import FeatureCache, open_features
from data.errors import InputError
from data.judgements.dataset import Span
from data.sampling import segment_of
from pipeline.runs.maps import FeatureSet

# A file that ends this much before its part should, in relative terms, was cut already.
_SLACK = 0.98


def within_spans(found: FeatureSet, spans: Mapping[str, Span], segments: int) -> FeatureSet:
    """Leave out the snippets before and after the judged part, and cut it into N segments.

    A file that is too short to hold the part is taken to be the part itself, cut out already.

    Parameters
    ----------
    found : FeatureSet
        With segments counted over whole files; what is returned has `parts` for those cut.
    spans : mapping of str to Span
        Judged part of some of its videos.
    segments : int
        N.

    Raises
    ------
    InputError
        A judged part holds no snippet.
    """
    rows, frames, numbers = list(found.rows), list(found.frame_index), list(found.segment)
    parts: dict[str, tuple[int, int]] = {}
    for place, (key, path) in enumerate(zip(found.keys, found.paths, strict=True)):
        if key not in spans:
            continue
        part = part_of(path, spans[key])
        if part is None:
            continue
        first, end = part
        inside = (frames[place] >= first) & (frames[place] < end)
        if not inside.any():
            raise InputError(
                f"{path}: no snippet lies in the judged part, frames {first} to {end - 1}; run "
                "extract-features with more snippets (--plan dense)"
            )
        rows[place] = rows[place][inside]
        frames[place] = frames[place][inside]
        parts[key] = part
        numbers[place] = segment_of(frames[place] - first, end - first, segments)
    return replace(
        found,
        rows=tuple(rows),
        frame_index=tuple(frames),
        segment=tuple(numbers),
        parts=parts,
    )


def part_of(path: Path, span: Span) -> tuple[int, int] | None:
    """Return a judged part's first frame and the one after its last; None where it is the file.

    Parameters
    ----------
    path : Path
        The video's feature cache.
    span : Span

    Raises
    ------
    InputError
        The part is given in seconds, and the cache has no time stamps.
    """
    with open_features(path) as cache:
        first, end = _frames_of(span, cache)
        decoded = cache.header.decoded_frames
    return None if decoded < _SLACK * end else (first, min(end, decoded))


def _frames_of(span: Span, cache: FeatureCache) -> tuple[int, int]:
    """Return a part's first frame and the one after its last, at the file's mean frame rate."""
    rate = 1.0
    if span.unit == "seconds":
        passed = cache.time > 0
        if not passed.any():
            raise InputError(f"{cache.path}: no time stamps to find the judged seconds by")
        rate = float(np.median(cache.frame_index[passed] / cache.time[passed]))
    end = cache.header.decoded_frames if span.end is None else int(span.end * rate) + 1
    return int((span.start or 0) * rate), end

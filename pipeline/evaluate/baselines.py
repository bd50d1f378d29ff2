"""Single numbers that a ranker must beat: length, mean flow, brightness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.judgements.dataset import Span
from data.judgements.pairs import Pair
from pipeline.runner.jobs import JobOptions

# Enough for a mean; spread evenly over the video.
_FIELDS = 50
_FRAMES = 16

Values = dict[str, float]


@dataclass(frozen=True)
class _Measured:
    """A file to measure: of a video, or its cache; `part` are the judged frames, None for all."""

    key: str
    path: Path
    part: tuple[int, int] | None


def baseline_scores(
    features: Path,
    keys: Sequence[str],
    *,
    flow: Path | None = None,
    videos: Path | None = None,
    spans: Mapping[str, Span] | None = None,
    jobs: JobOptions | None = None,
) -> tuple[dict[str, Values], list[str]]:
    """Measure each video's single numbers, as far as the files for them are given.

    Parameters
    ----------
    features : Path
        Feature caches: length in seconds, from the decoded frames and the snippets' times.
    keys : sequence of str
        Videos, by cache key.
    flow : Path, optional
        Flow caches: mean length of the flow vectors, px/frame, over up to 50 fields.
    videos : Path, optional
        Videos themselves: mean grey level, 0 to 255, over up to 16 frames.
    spans : mapping of str to Span, optional
        Judged parts of videos of which not all was judged: the numbers are of these.
    jobs : JobOptions, optional
        Workers; one by default.

    Returns
    -------
    measured : dict of str to dict
        ``"length"``, ``"mean flow"``, ``"brightness"``: a number for each key.
    left_out : list of str
        One line for each baseline that could not be measured, with what it needs.
    """
    jobs = jobs or JobOptions(jobs=1)
    parts = _parts(features, keys, spans or {})
    measured = {"length": {key: _length(features, key, parts[key]) for key in keys}}
    left_out = []
    for name, folder, flag in (("mean flow", flow, "--flow"), ("brightness", videos, "--videos")):
        if folder is None:
            left_out.append(f"baseline '{name}' left out: give {flag} to measure it")
            continue
        try:
            measured[name] = _measure(name, folder, parts, jobs)
        except InputError as error:
            left_out.append(f"baseline '{name}' left out: {error}")
    return measured, left_out


def _parts(
    features: Path, keys: Sequence[str], spans: Mapping[str, Span]
) -> dict[str, tuple[int, int] | None]:
    """Return the judged frames of each video; None for the whole."""
    from data.cache.folder import cache_path
    from pipeline.runs.spans import part_of

    return {
        key: part_of(cache_path(features, key), spans[key]) if key in spans else None
        for key in keys
    }


def _measure(
    name: str, folder: Path, parts: Mapping[str, tuple[int, int] | None], jobs: JobOptions
) -> Values:
    from pipeline.runner.jobs import run_jobs

    task, find = (_mean_flow, _flow_files) if name == "mean flow" else (_brightness, _video_files)
    items = [_Measured(key, path, parts[key]) for key, path in find(folder, [*parts])]
    outcome = run_jobs(task, items, jobs, desc=name, name=lambda item: item.key)
    if outcome.failures:
        raise InputError(f"{len(outcome.failures)} videos failed, e.g. {outcome.failures[0][1]}")
    return {item.key: value for item, value in outcome.results}


def training_sign(values: Mapping[str, float], train: Sequence[Pair]) -> int:
    """Return 1 or −1: the direction of a number that agrees with more of the training pairs."""
    more = sum(values[pair.better] > values[pair.worse] for pair in train)
    less = sum(values[pair.better] < values[pair.worse] for pair in train)
    return 1 if more >= less else -1


def _length(features: Path, key: str, part: tuple[int, int] | None) -> float:
    from data.cache.features import open_features
    from data.cache.folder import cache_path

    with open_features(cache_path(features, key)) as cache:
        frames = cache.header.decoded_frames if part is None else part[1] - part[0]
        last = int(cache.frame_index[-1])
        if last <= 0 or cache.time[-1] <= 0:
            return float(frames)
        return float(frames * cache.time[-1] / last)


def _flow_files(folder: Path, keys: Sequence[str]) -> list[tuple[str, Path]]:
    from data.cache.folder import cache_path

    files = [(key, cache_path(folder, key)) for key in keys]
    if missing := [key for key, path in files if not path.is_file()]:
        raise InputError(
            f"{len(missing)} of {len(keys)} flow caches are not in {folder}, e.g. {missing[0]}"
        )
    return files


def _video_files(folder: Path, keys: Sequence[str]) -> list[tuple[str, Path]]:
    from data.sources import find_sources

    known = {source.key: source.path for source in find_sources([folder])}
    if missing := [key for key in keys if key not in known]:
        raise InputError(
            f"{len(missing)} of {len(keys)} videos are not in {folder}, e.g. {missing[0]}"
        )
    return [(key, known[key]) for key in keys]


def _spread(count: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))


def _mean_flow(item: _Measured) -> float:
    from data.cache.flow import open_flow

    with open_flow(item.path) as cache:
        rows = np.arange(len(cache))
        if item.part is not None:
            first, end = item.part
            rows = rows[(cache.frame_index >= first) & (cache.frame_index < end)]
        if not len(rows):
            raise InputError(f"{item.path}: no flow in the judged part")
        rows = rows[_spread(len(rows), _FIELDS)]
        return float(np.mean([np.hypot(*cache.read_px(int(row))).mean() for row in rows]))


def _brightness(item: _Measured) -> float:
    import cv2

    from data.video.reading import read_frames, scan

    frames = scan(item.path).frames
    first, end = item.part or (0, frames)
    indices = first + _spread(min(end, frames) - first, _FRAMES)
    grey = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for _, frame in read_frames(item.path, indices))
    return float(np.mean([each.mean() for each in grey]))

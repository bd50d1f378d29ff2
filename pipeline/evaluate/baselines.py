"""Single numbers that a ranker must beat: length, mean flow, brightness."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data.cache.features import open_features
from data.cache.flow import open_flow
from data.cache.folder import cache_path
from data.errors import InputError
from data.judgements.dataset import Span
from data.sources import find_sources
from data.video.reading import read_frames, scan
from pipeline.runner.jobs import JobOptions, run_jobs
from pipeline.runs.features import duration
from pipeline.runs.judgements import judged_part

LENGTH = "length"

# Enough for a mean; spread evenly over the video.
_FIELDS = 50
_FRAMES = 16

Values = dict[str, float]
#: First frame and the one after the last of the judged part; None for the whole video.
Part = tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A number for each video.

    Attributes
    ----------
    name : str
        Its row and column in the tables.
    source : str
        The setting with the folder that it is measured from.
    files : str
        What that folder holds.
    find : callable
        From the folder and the videos' keys to their files; missing ones may be left out.
    measure : callable
        From a file and the judged part to the number.
    """

    name: str
    source: str
    files: str
    find: Callable[[Path, Sequence[str]], Mapping[str, Path]]
    measure: Callable[[Path, Part], float]


def baseline_scores(
    features: Path,
    keys: Sequence[str],
    folders: Mapping[str, Path | None],
    *,
    spans: Mapping[str, Span] | None = None,
    jobs: JobOptions | None = None,
) -> tuple[dict[str, Values], list[str]]:
    """Measure the baselines of each video whose files are given.

    Parameters
    ----------
    features : Path
        Feature caches.
    keys : sequence of str
        Videos, by cache key.
    folders : mapping of str to Path or None
        Further inputs, by `Baseline.source`.
    spans : mapping of str to Span, optional
        Judged parts of videos that were judged in part; the numbers cover only these parts.
    jobs : JobOptions, optional
        Workers; one by default.

    Returns
    -------
    measured : dict of str to dict
        For each baseline a number for each key.
    left_out : list of str
        One line for each baseline that could not be measured, with what it needs.
    """
    folders, spans = {**folders, "features": features}, spans or {}
    parts: dict[str, Part] = dict.fromkeys(keys)
    for key in [key for key in keys if key in spans]:
        with open_features(cache_path(features, key)) as cache:
            parts[key] = judged_part(cache, spans[key])
    measured: dict[str, Values] = {}
    left_out = []
    for baseline in BASELINES:
        folder = folders.get(baseline.source)
        if folder is None:
            reason = f"give --{baseline.source} to measure it"
        else:
            try:
                measured[baseline.name] = measure(baseline, folder, parts, jobs)
                continue
            except InputError as error:
                reason = str(error)
        left_out.append(f"baseline '{baseline.name}' left out: {reason}")
    return measured, left_out


def measure(
    baseline: Baseline,
    folder: Path,
    parts: Mapping[str, Part],
    jobs: JobOptions | None = None,
) -> Values:
    """Measure one number of some videos, given by key and judged part.

    Raises
    ------
    InputError
        A video's file is missing or cannot be measured.
    """
    files = baseline.find(folder, [*parts])
    if missing := [key for key in parts if key not in files]:
        raise InputError(
            f"{len(missing)} of {len(parts)} {baseline.files} are not in {folder}, "
            f"e.g. {missing[0]}"
        )
    outcome = run_jobs(
        partial(_measure_one, baseline.measure, files, parts),
        [*parts],
        jobs or JobOptions(jobs=1),
        desc=baseline.name,
    )
    if outcome.failures:
        raise InputError(f"{len(outcome.failures)} videos failed, e.g. {outcome.failures[0][1]}")
    return dict(outcome.results)


def _measure_one(
    number: Callable[[Path, Part], float],
    files: Mapping[str, Path],
    parts: Mapping[str, Part],
    key: str,
) -> float:
    return number(files[key], parts[key])


def _caches(folder: Path, keys: Sequence[str]) -> dict[str, Path]:
    paths = {key: cache_path(folder, key) for key in keys}
    return {key: path for key, path in paths.items() if path.is_file()}


def _videos(folder: Path, keys: Sequence[str]) -> dict[str, Path]:
    paths = {source.key: source.path for source in find_sources([folder])}
    return {key: paths[key] for key in keys if key in paths}


def _spread(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _length(path: Path, part: Part) -> float:
    """Return the length in seconds, from the decoded frames and the snippets' times."""
    with open_features(path) as cache:
        return duration(cache, part)


def _mean_flow(path: Path, part: Part) -> float:
    """Return the mean length of the flow vectors, px/frame."""
    with open_flow(path) as cache:
        rows = np.arange(len(cache))
        if part is not None:
            rows = rows[(cache.frame_index >= part[0]) & (cache.frame_index < part[1])]
        if not len(rows):
            raise InputError(f"{path}: no flow in the judged part")
        rows = rows[_spread(len(rows), _FIELDS)]
        return float(np.mean([np.hypot(*cache.read_px(int(row))).mean() for row in rows]))


def _brightness(path: Path, part: Part) -> float:
    """Return the mean grey level, 0 to 255."""
    import cv2

    times = scan(path).times
    first, end = part or (0, len(times))
    indices = first + _spread(min(end, len(times)) - first, _FRAMES)
    frames = read_frames(path, indices, times[indices])
    grey = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for _, frame in frames)
    return float(np.mean([each.mean() for each in grey]))


#: A new baseline is declared here. If it needs other files, their folder becomes an option in
#: `EvaluateOptions`.
BASELINES = (
    Baseline(name=LENGTH, source="features", files="feature caches", find=_caches, measure=_length),
    Baseline(
        name="mean flow", source="flow", files="flow caches", find=_caches, measure=_mean_flow
    ),
    Baseline(name="brightness", source="videos", files="videos", find=_videos, measure=_brightness),
)

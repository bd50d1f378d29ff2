"""What there is to show of one video: where a run looked, and how it scored the video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from data.cache.features import open_features
from data.cache.flow import FlowCache, open_flow
from data.cache.folder import cache_path
from data.errors import InputError
from data.options import PlanOptions
from data.sources import Source
from data.video.reading import read_frames, scan
from model.ranker.variants.blend import Blend
from pipeline.evaluate.attention import map_geometry
from pipeline.extract_features.snippets import snippet_plan
from pipeline.pictures.attention import Look
from pipeline.score.features import VideoFeatures
from pipeline.score.members import Member, Scored
from pipeline.shell.console import log


def look_at(member: Member, scored: Scored) -> Look:
    """Gather what there is to show of a scored video.

    Raises
    ------
    InputError
        The ranker of the run has no attention over the frame, or a frame cannot be read.
    """
    parameters, features = member.run.parameters, scored.features
    if scored.attention is None:
        raise InputError(_no_attention(member))
    _refuse_one_cell(member)
    with open_features(cache_path(features.folder, features.key)) as cache:
        times, last = np.asarray(cache.time[scored.rows]), float(cache.time[-1])
    flow = None
    if features.flow is not None:
        with open_flow(features.flow) as fields:
            flow = _step_flow(fields, scored, PlanOptions(**parameters["plan"]))
    video, shown, stamps = features.source.path, scored.frames, times
    if features.header.imported:  # Its frames need not be the video's.
        shown, stamps = _nearest_frames(video, times, last)
    wanted, rows = np.unique(shown, return_index=True)
    frames = dict(read_frames(video, wanted, stamps[rows]))
    return Look(
        video=features.source.key,
        headline=_headline(member, scored),
        score=scored.score,
        times=times,
        running=scored.running,
        attention=scored.attention,
        geometry=map_geometry(parameters),
        frames=[frames[int(number)] for number in shown],
        flow=flow,
    )


def look_at_cached(
    run: Path, key: str, video: Path, features: Path, flow: Path | None = None
) -> Look:
    """Gather what there is to show of one video whose features exist.

    Parameters
    ----------
    run, features, flow : path
        Outputs of train-ranker, extract-features and, where it exists, extract-flow.
    key : str
        Of the video in these.
    video : path
        The video itself, for its pictures.

    Raises
    ------
    InputError
        There is no such cache, or the ranker has no attention over the frame.
    """
    member = Member.load(run)
    fields = cache_path(flow, key) if flow is not None else None
    cached = VideoFeatures.read(Source(video, key), features, key, fields)
    return look_at(member, member.score([cached], "cpu")[0])


def _nearest_frames(video: Path, times: np.ndarray, last: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames of a video nearest to the times of imported features, and their stamps.

    Parameters
    ----------
    video : Path
    times : ndarray (N,) float64
        Seconds from the first frame on.
    last : float
        Of the last feature; where it lies far from the video's end, the log says so.
    """
    stamps = scan(video).times
    clock = stamps - stamps[0]
    if not 0.5 * clock[-1] <= last <= 1.1 * clock[-1] + 0.5:
        log.warning(
            "%s lasts %.1f s, its last feature is of %.1f s: look at --rate, or the time stamps, "
            "of import-features",
            *(video, clock[-1], last),
        )
    frames = np.abs(clock[:, None] - times[None, :]).argmin(axis=0)
    return frames, stamps[frames]


def frame_times(scored: Scored) -> np.ndarray:
    """Return the seconds of all frames of a video: from its flow cache, or by reading it.

    Caches of version 0.1 count time from the first frame where the file's own clock starts
    later: the times that are read follow those of the feature cache.
    """
    features = scored.features
    if features.header.imported:
        times = scan(features.source.path).times
        return times - times[0]
    if features.flow is None:
        times = scan(features.source.path).times
        with open_features(cache_path(features.folder, features.key)) as cache:
            return times + (cache.time[0] - times[cache.frame_index[0]])
    with open_flow(features.flow) as cache:
        return np.asarray(cache.frame_time)


def check_attention(member: Member) -> None:
    """Refuse a ranker without attention over the frame before anything is computed.

    Imported features of a single cell, vectors, have none either.

    Raises
    ------
    InputError
        It has none.
    """
    _refuse_one_cell(member)
    maps = torch.zeros(1, member.run.ranker.segments, *member.run.shape)
    with torch.inference_mode():
        out = member.run.model(maps, torch.Generator().manual_seed(0))
    if out.attention is None:
        raise InputError(_no_attention(member))


def _refuse_one_cell(member: Member) -> None:
    """Refuse imported features of one cell: they do not say where in the frame anything was."""
    channels, height, width = member.run.shape
    if member.run.imported and height * width == 1:
        raise InputError(
            f"{member.folder}: was trained on imported features of {channels}×1×1, which do not "
            "say where in the frame they are from: nothing can be drawn; it takes maps (T, C, H, W)"
        )


def _no_attention(member: Member) -> str:
    return (
        f"{member.folder}: variant {member.run.ranker.variant} has no attention over the frame to "
        "show; explain a run of full, fc_att or another variant with spatial attention"
    )


def _headline(member: Member, scored: Scored) -> str:
    """Return score and rank in words; numbers stay next to their units at the end of a line."""
    trained = scored.known_as in member.run.training_videos
    place = member.reference.place(scored.score, scored.known_as if trained else None)
    parts = [
        f"score\xa0{scored.score:+.3f}",
        f"rank\xa0{place.rank} of\xa0{place.of}",
        f"better than {place.percentile:.0f}\xa0% of the training videos",
        *(["a training video"] if trained else []),
    ]
    if isinstance(model := member.run.model, Blend):
        parts.append(f"attention\xa0{100 * float(model.shares[0]):.0f}\xa0% of\xa0the\xa0score")
    return " · ".join(parts)


def _step_flow(cache: FlowCache, scored: Scored, options: PlanOptions) -> np.ndarray:
    """Return the field of each step that starts at its frame, or is nearest to it, px a frame."""
    plan = snippet_plan(cache, options)
    rows = cache.rows(plan.pairs)
    fields = []
    for row, frame in zip(scored.rows, scored.frames, strict=True):
        stack = plan.fields[row]
        pair = stack[int(np.abs(plan.pairs[stack, 0] - frame).argmin())]
        first, second = plan.pairs[pair]
        fields.append(cache.read_px(int(rows[pair])) / max(1, int(second - first)))
    return np.stack(fields)

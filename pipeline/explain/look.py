"""What there is to show of one video: where a run looked, and what it made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.cache.features import open_features
from data.cache.flow import open_flow
from data.errors import InputError
from model.features.geometry import MapGeometry
from pipeline.extract_features.snippets import snippet_plan
from pipeline.pictures.attention import entropy
from pipeline.score.ranking import Place
from pipeline.score.run import Member, Scored
from pipeline.score.search import Made


@dataclass(frozen=True)
class Look:
    """One video as a run saw it; N steps.

    Attributes
    ----------
    video : str
        Its name.
    path : Path
    score : float
    place : Place or None
        Among the training videos.
    note : str
        More about it, or empty.
    frames : ndarray (N,) int64
        Frame of each step.
    times : ndarray (N,) float64
        Its seconds.
    attention : ndarray (N, H, W) float32
    running : ndarray (N,) float64
        Score after each step.
    flow : ndarray (N, 2, h, w) float32, or None
        Flow at each step's frame, px a frame.
    frame_times : ndarray (F,) float64, or None
        Seconds of all frames, where a flow cache tells.
    geometry : MapGeometry
    """

    video: str
    path: Path
    score: float
    place: Place | None
    note: str
    frames: np.ndarray
    times: np.ndarray
    attention: np.ndarray
    running: np.ndarray
    flow: np.ndarray | None
    frame_times: np.ndarray | None
    geometry: MapGeometry

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of attention at each step, as a share of the greatest possible."""
        return entropy(self.attention)


def look_at(member: Member, scored: Scored) -> Look:
    """Gather what there is to show of a scored video.

    Raises
    ------
    InputError
        The run's ranker has no attention over the frame.
    """
    run, made = member.run, scored.made
    if scored.attention is None:
        raise InputError(no_attention(member))
    with open_features(made.folder / (made.key + ".h5")) as cache:
        times = np.asarray(cache.time[scored.rows])
    flow, frame_times = _flow(made, scored, member) if made.flow is not None else (None, None)
    seen_as = run.parameters
    trained = scored.known_as in run.training_videos
    return Look(
        made.source.key,
        made.source.path,
        scored.score,
        member.reference.place(scored.score, scored.known_as if trained else None),
        "a training video" if trained else "",
        scored.frames,
        times,
        scored.attention,
        scored.running,
        flow,
        frame_times,
        MapGeometry.of(int(seen_as["input_size"]), str(seen_as["trunk_stage"])),
    )


def no_attention(member: Member) -> str:
    """Say in one line that a run cannot be explained."""
    variant = member.run.ranker.variant
    return (
        f"{member.folder}: variant {variant} has no attention over the frame to show; explain a "
        "run of full, fc_att or another variant with spatial attention"
    )


def _flow(made: Made, scored: Scored, member: Member) -> tuple[np.ndarray, np.ndarray]:
    """Return the field of each step that starts at its frame, or lies next to it."""
    from data.options import PlanOptions

    if made.flow is None:
        raise InputError(f"{made.source.key}: no flow")
    with open_flow(made.flow) as cache:
        plan = snippet_plan(cache, PlanOptions(**member.run.parameters["plan"]))
        rows = cache.rows(plan.pairs)
        fields = []
        for row, frame in zip(scored.rows, scored.frames, strict=True):
            stack = plan.fields[row]
            nearest = int(np.abs(plan.pairs[stack, 0] - frame).argmin())
            pair = stack[nearest]
            span = max(1, int(plan.pairs[pair, 1] - plan.pairs[pair, 0]))
            fields.append(cache.read_px(int(rows[pair])) / span)
        return np.stack(fields), cache.frame_time

"""Attention of one run against the known boxes of its held-out videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from model.features.geometry import MapGeometry
from model.ranker.attention_measure import compare
from model.ranker.build import build
from model.ranker.scoring import Scores, score
from model.ranker.videos import VideoMaps
from pipeline.evaluate.plan import EvaluationPlan, Run
from pipeline.runs.features import FeatureSet


def measure_attention(
    plan: EvaluationPlan, run: Run, features: FeatureSet, videos: VideoMaps, scores: Scores
) -> dict[str, dict[str, float]] | None:
    """Compare attention on held-out videos with their boxes: trained, untrained, chance.

    None where there are no boxes, no held-out video has one, or the variant has no attention map.
    """
    if not plan.boxes or scores.attention is None:
        return None
    held_out = plan.splits[run.fold].held_out
    rows = [number for number, key in enumerate(videos.keys) if key in held_out]
    frames = np.concatenate(features.frame_index)
    boxes = np.array(
        [
            plan.boxes.get(videos.keys[row], {}).get(int(frame), (np.nan,) * 4)
            for row in rows
            for frame in frames[scores.rows[row]]
        ],
        np.float64,
    )
    if not rows or np.isnan(boxes).any(axis=1).all():
        return None
    ranker = plan.ranker(run)
    channels, height, width = videos.maps.shape[1:]
    fresh = build(ranker, channels, height, width, run.seed)
    sampling = plan.settings.train.sampling
    untrained = score(fresh, videos, ranker.segments, sampling).attention
    maps = {
        name: attention[rows].reshape(-1, *attention.shape[2:])
        for name, attention in (("trained", scores.attention), ("untrained", untrained))
        if attention is not None
    }
    measured = compare(maps, boxes, map_geometry(features.header.parameters))
    return {name: asdict(value) for name, value in measured.items()}


def map_geometry(parameters: Mapping[str, Any]) -> MapGeometry | None:
    """Return where a fused map's cells lie in the frame; None if it is not known.

    Parameters
    ----------
    parameters : mapping
        Of the features' header. Features of other programs do not record the trunk's input size;
        their cells count as equal parts of the frame.
    """
    if not {"input_size", "trunk_stage"} <= parameters.keys():
        return None
    return MapGeometry.of(parameters["input_size"], parameters["trunk_stage"])

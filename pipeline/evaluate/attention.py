"""Attention of one run against the known boxes of its held-out videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from model.features.geometry import MapGeometry
from model.ranker import attention_measure, training
from model.ranker import build as variants
from model.ranker.options import RankerOptions
from model.ranker.videos import VideoMaps
from pipeline.evaluate.runs import CrossValidation, Run
from pipeline.runs.maps import FeatureSet


def measure_attention(
    plan: CrossValidation,
    run: Run,
    ranker: RankerOptions,
    found: FeatureSet,
    videos: VideoMaps,
    scores: training.Scores,
) -> dict[str, dict[str, float]] | None:
    """Compare attention on held-out videos with their boxes: trained, untrained, chance.

    None where no held-out video has a box, or the variant has no attention map.
    """
    out = plan.splits[run.fold].held_out
    shown = [number for number, key in enumerate(videos.keys) if key in out]
    if not shown:
        return None
    c, h, w = videos.maps.shape[1:]
    fresh = variants.build(ranker, c, h, w, run.seed)
    untrained = training.score(fresh, videos, ranker.segments, plan.train.sampling)
    frames = np.concatenate(found.frame_index)
    boxes = np.concatenate(
        [
            _boxes_of(plan.boxes or {}, videos.keys[number], frames[scores.rows[number]])
            for number in shown
        ]
    )
    pair = {"trained": scores.attention, "untrained": untrained.attention}
    flat = {n: a[shown].reshape(-1, *a.shape[2:]) for n, a in pair.items() if a is not None}
    if np.isnan(boxes).any(axis=1).all() or len(flat) < len(pair):
        return None
    measured = attention_measure.compare(flat, boxes, map_geometry(found.header.parameters))
    return {name: asdict(value) for name, value in measured.items()}


def map_geometry(parameters: Mapping[str, Any]) -> MapGeometry | None:
    """Return where a fused map's cells lie in the frame; None: as equal parts of the frame.

    Parameters
    ----------
    parameters : mapping
        Of the features' header; without the trunk's input size (features of other programs)
        nothing is known.
    """
    if not {"input_size", "trunk_stage"} <= parameters.keys():
        return None
    return MapGeometry.of(parameters["input_size"], parameters["trunk_stage"])


def _boxes_of(
    boxes: Mapping[str, Mapping[int, tuple[float, ...]]], key: str, frames: np.ndarray
) -> np.ndarray:
    known = boxes.get(key, {})
    return np.array([known.get(int(frame), (np.nan,) * 4) for frame in frames], np.float64)

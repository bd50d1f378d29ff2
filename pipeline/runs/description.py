"""What a checkpoint says of itself, whoever trained it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from model.ranker.options import RankerOptions, TrainOptions
    from pipeline.runs.maps import FeatureSet


def describe_run(
    ranker: RankerOptions,
    train: TrainOptions,
    found: FeatureSet,
    *,
    snippet_stride: int,
    scores: np.ndarray,
    training_videos: Sequence[str],
    protocol: str,
    best_epoch: int,
    seed: int,
) -> dict[str, Any]:
    """Return what `run_folder.load_run` reads beside the weights, as JSON.

    Parameters
    ----------
    found : FeatureSet
        The features of all videos scored.
    scores : ndarray (V,) float64
        Of its videos, in their order.
    training_videos : sequence of str
        Videos that the training pairs name, those for validation included.
    protocol : str
        How the epoch was chosen, in words.
    """
    return {
        "ranker": asdict(ranker),
        "train": asdict(train),
        "shape": list(found.shape),
        "weights": found.header.weights,
        "parameters": found.header.parameters,
        "snippet_stride": snippet_stride,
        "parts": {key: list(part) for key, part in found.parts.items()},
        "keys": list(found.keys),
        "feature_digests": list(found.digests),
        "scores": scores.tolist(),
        "training_videos": list(training_videos),
        "protocol": protocol,
        "best_epoch": best_epoch,
        "seed": seed,
    }

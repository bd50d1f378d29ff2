"""Scores of whole videos, and how many pairs they put in the right order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from model.ranker.pooled import Array, statistics_of
from model.ranker.recurrent import Output
from model.ranker.videos import SnippetRanges, VideoMaps, authors_bins, whole_video

# Seed of the normal start of the hidden states when scoring, where that option is on.
SCORING_SEED = 0


@runtime_checkable
class WholeVideo(Protocol):
    """A ranker that sees more of a video than one snippet of each segment."""

    def judge(
        self,
        x: Tensor,
        generator: torch.Generator | None,
        statistics: Array,
        seconds: float | None,
    ) -> Output:
        """Score one video from x (1, T, C, H, W), statistics of all its snippets, and duration."""


@dataclass(frozen=True)
class Scores:
    """Scores of V videos.

    Attributes
    ----------
    score : np.ndarray
        (V,) float64, higher is better.
    attention : np.ndarray or None
        (V, N, H, W) float32, sums to 1 over each map; None for a ranker without such maps.
    running : np.ndarray
        (V, N) float64, score after each step.
    rows : np.ndarray
        (V, N) int64, row of `VideoMaps.maps` that was seen at each step.
    """

    score: np.ndarray
    attention: np.ndarray | None
    running: np.ndarray
    rows: np.ndarray


def ranges_of(videos: VideoMaps, n_segments: int, sampling: str) -> SnippetRanges:
    """Return the runs of snippets of either way of sampling ("whole" or "authors")."""
    return {"whole": whole_video, "authors": authors_bins}[sampling](videos, n_segments)


def score(
    model: nn.Module,
    videos: VideoMaps,
    segments: int = 25,
    sampling: str = "whole",
    device: torch.device | str = "cpu",
) -> Scores:
    """Score every video on the last snippet of each of its segments.

    Videos go one at a time, so a score is exactly the same whatever other videos are scored.

    Parameters
    ----------
    model : nn.Module
        From `build.build` or `training.fit`; left in evaluation mode.
    segments, sampling
        As in training: `RankerOptions.segments`, `TrainOptions.sampling`.
    """
    model.eval().to(device)
    rows = ranges_of(videos, segments, sampling).test
    attention, running = [], []
    with torch.inference_mode():
        for video, each in enumerate(rows):
            generator = torch.Generator().manual_seed(SCORING_SEED)
            x = videos.gather(each[None], device)
            if isinstance(model, WholeVideo):
                out = model.judge(
                    x, generator, statistics_of(videos, video), _seconds(videos, video)
                )
            else:
                out = model(x, generator)
            running.append(out.running[0].cpu())
            if out.attention is not None:
                attention.append(out.attention[0].cpu())
    runs = torch.stack(running).double().numpy()
    maps = torch.stack(attention).numpy() if attention else None
    return Scores(runs[:, -1].copy(), maps, runs, rows.numpy())


def _seconds(videos: VideoMaps, video: int) -> float | None:
    return None if videos.seconds is None else float(videos.seconds[video])


def pair_accuracy(scores: np.ndarray | Tensor, pairs: np.ndarray | Tensor) -> float:
    """Return the share of pairs whose better video scores strictly higher; ties are wrong.

    Parameters
    ----------
    scores : array
        (V,).
    pairs : array
        (P, 2) int64 rows (better, worse).

    Raises
    ------
    ValueError
        If there are no pairs.
    """
    if len(pairs) == 0:
        raise ValueError("no pairs to judge the scores by")
    return float((scores[pairs[:, 0]] > scores[pairs[:, 1]]).sum()) / len(pairs)

"""Snippets of training videos, for what is fitted before extraction: BatchNorm and PCA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError
from pipeline.extract_features.snippets import VideoInput, count_snippets, read_snippets
from pipeline.shell.console import log, progress

if TYPE_CHECKING:
    from torch import Tensor


def training_snippets(
    videos: Sequence[VideoInput], count: int, device: str = "cpu"
) -> tuple[Tensor, Tensor, list[str]]:
    """Read about `count` snippets, spread evenly over the videos and over each one's time.

    Parameters
    ----------
    videos
        Training videos; those that cannot be read are left out with a warning.
    count
        Snippets wanted; fewer where the videos have fewer.
    device
        Where the CUDA engine runs, if it computes their flow.

    Returns
    -------
    frames : Tensor (N, 3, S, S) uint8
    stacks : Tensor (N, 2L, S, S) uint8
    keys : list of str
        The videos that were used.

    Raises
    ------
    InputError
        No video can be read.
    """
    import torch

    chosen = [videos[i] for i in _spread(len(videos), min(count, len(videos)))]
    frames, stacks, keys = [], [], []
    for number, video in enumerate(progress(chosen, desc="training snippets", unit="video")):
        share = len(range(number, count, len(chosen)))
        try:
            rows = _spread(count_snippets(video), share)
            items = list(read_snippets(video, rows, {}, device))
        except InputError as error:
            log.warning("%s: left out of the training snippets: %s", video.key, error)
            continue
        frames += [frame for _, frame, _ in items]
        stacks += [stack for _, _, stack in items]
        keys.append(video.key)
    if not keys:
        raise InputError("none of the training videos can be read")
    return torch.from_numpy(np.stack(frames)), torch.from_numpy(np.stack(stacks)), keys


def _spread(n: int, count: int) -> np.ndarray:
    """Middles of `count` equal parts of n things, each thing once."""
    parts = 2 * np.arange(count, dtype=np.int64) + 1
    return np.unique(n * parts // (2 * count))

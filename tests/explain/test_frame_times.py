"""Times of a film's frames: on the clock of the feature cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.sources import Source
from pipeline.explain.look import frame_times
from pipeline.score.features import VideoFeatures
from pipeline.score.members import Scored
from tests.goldens.material import VIDEOS, write_videos


@pytest.mark.parametrize("start", [0.0, 0.48])
def test_times_follow_the_feature_cache(tmp_path: Path, start: float) -> None:
    """Attention runs ahead of the picture where an old cache counts from the first frame."""
    video = write_videos(tmp_path / "videos") / VIDEOS[0]
    frames = np.array([3, 9, 15])
    with create_features(
        cache_path(tmp_path, VIDEOS[0]), Header("features"), frames, frames / 25 - start, (2, 1, 1)
    ) as writer:
        for row in range(3):
            writer.put(row, np.zeros((2, 1, 1), np.float32))
    features = VideoFeatures.read(Source(video, VIDEOS[0]), tmp_path, VIDEOS[0])
    scored = Scored(
        features=features,
        score=0.0,
        running=np.zeros(3),
        frames=frames,
        rows=np.arange(3),
        attention=None,
        known_as=None,
    )
    # Frame folders have 25 frames a second.
    np.testing.assert_allclose(frame_times(scored), np.arange(26) / 25 - start, atol=1e-12)

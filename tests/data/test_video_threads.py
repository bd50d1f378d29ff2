"""Scanning a video by several threads finds what one thread finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.video import reading as video
from data.video.reading import scan
from tests.helpers import odd_videos


def assert_same_scan(path: Path) -> None:
    one, several = scan(path), scan(path, threads=3)
    for name in ("frames", "claimed_frames", "width", "height", "rotation", "fps", "warnings"):
        assert getattr(one, name) == getattr(several, name)
    np.testing.assert_array_equal(one.times, several.times)


@pytest.mark.parametrize(
    "name", ["h264.mp4", "bframes.mp4", "vfr.mp4", "fragmented.mp4", "mpeg4_bframes.avi", "vfr.mkv"]
)
def test_whole_videos(tmp_path: Path, name: str) -> None:
    """Frames or time stamps go missing between threads, and workers change the caches."""
    assert_same_scan(odd_videos.make(name, tmp_path))


@pytest.mark.parametrize("share", [0.6, None])
def test_damaged_videos(tmp_path: Path, share: float | None) -> None:
    """What is left of a damaged video depends on how many threads met the damage."""
    path = odd_videos.truncated(tmp_path, share) if share else odd_videos.corrupted(tmp_path)
    assert_same_scan(path)


def test_rotation_and_edit_lists(tmp_path: Path) -> None:
    """Frames that an edit list hides are counted, or frames are not turned."""
    assert_same_scan(odd_videos.rotated(tmp_path, 90))
    assert_same_scan(odd_videos.edit_list(tmp_path))


def test_a_count_that_is_only_estimated_costs_no_second_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long Matroska files are decoded twice by one thread because their count is an estimate."""
    path = odd_videos.make("vfr.mkv", tmp_path)
    passes = []
    decode = video._decoded
    monkeypatch.setattr(video, "_decoded", lambda *a: passes.append(a[1]) or decode(*a))
    assert scan(path, threads=3).claimed_frames != scan(path).frames
    assert len(passes) == 2

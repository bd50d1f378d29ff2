"""Headers' claims: a shape where there is one, None where nothing is believed, never an error."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.options import FlowOptions, PlanOptions
from data.sampling import plan_snippets
from data.video.claims import claimed_pairs, claimed_shape
from tests.helpers import odd_videos


def write_folder(folder: Path, frames: int) -> Path:
    folder.mkdir()
    for number in range(frames):
        cv2.imwrite(str(folder / f"img_{number:05}.png"), np.zeros((48, 64, 3), np.uint8))
    return folder


def test_shape_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    """A forecast is of another video's size."""
    video = odd_videos.make("h264.mp4", tmp_path)
    size = (odd_videos.WIDTH, odd_videos.HEIGHT)
    assert claimed_shape(video) == (odd_videos.FRAMES, *size, odd_videos.RATE)
    assert claimed_shape(write_folder(tmp_path / "frames", 3)) == (3, 64, 48, 25.0)


def test_what_claims_nothing_has_no_shape(tmp_path: Path) -> None:
    """A forecast over a folder with one odd file ends the whole run."""
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty").mkdir()
    raw = odd_videos.make("raw.h264", tmp_path)
    for path in (tmp_path / "text.mp4", tmp_path / "empty", tmp_path / "none.mp4", raw):
        assert claimed_shape(path) is None


def test_a_folder_that_cannot_be_read_has_no_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule of several workers looks at every video first, and ends the whole run."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(4):
        (folder / f"img_{number:05}.png").write_bytes(b"")

    def refused(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert claimed_shape(folder) is None


def test_claimed_pairs_are_those_of_the_plan(tmp_path: Path) -> None:
    """The forecast counts other pairs, or fields of another size, than will be computed."""
    long, short = write_folder(tmp_path / "long", 30), write_folder(tmp_path / "short", 2)
    plan, flow = PlanOptions(stack_length=4, segments=3), FlowOptions(short_side=24)
    pairs = len(plan_snippets(np.arange(30) / 25, plan).pairs)
    assert claimed_pairs([long, tmp_path / "none.mp4"], plan, flow) == (pairs, pairs * 32 * 24)
    assert claimed_pairs([short], PlanOptions(frame_step=2), flow) == (0, 0)

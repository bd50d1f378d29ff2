"""What videos' headers claim: for forecasts only, everything computed rests on decoded frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.options import FlowOptions, PlanOptions
from data.sampling import plan_snippets
from data.video.file import opened
from data.video.frame_folder import read_folder
from data.video.frame_names import frame_files, is_frames
from data.video.info import DEFAULT_FPS

# More than four days at 25 frames a second is not believed.
_MOST_FRAMES = 10_000_000


def claimed_shape(path: Path) -> tuple[int, int, int, float] | None:
    """Frames, width, height and rate that a video's header claims; None when it says nothing."""
    try:
        if is_frames(path):
            return _folder_shape(path)
        with opened(path) as video:
            if next(video.frames([]), None) is None or not 2 <= video.claimed < _MOST_FRAMES:
                return None
            fps = video.fps if 0 < video.fps < 1e4 else DEFAULT_FPS
            return video.claimed, video.width, video.height, fps
    except (InputError, OSError):
        return None


def _folder_shape(folder: Path) -> tuple[int, int, int, float]:
    """Shape of a folder of frames, from the number of files and the first one."""
    _, first = next(read_folder(folder, np.zeros(1, np.int64), None))
    return len(frame_files(folder)), first.shape[1], first.shape[0], DEFAULT_FPS


def claimed_pairs(paths: Sequence[Path], plan: PlanOptions, flow: FlowOptions) -> tuple[int, int]:
    """Pairs that a plan takes from some videos, and pixels of their fields, by their headers."""
    pairs = pixels = 0
    for path in paths:
        shape = claimed_shape(path)
        if shape is None:
            continue
        frames, width, height, fps = shape
        try:
            count = len(plan_snippets(np.arange(frames) / fps, plan).pairs)
        except ValueError:  # too few frames for a pair
            continue
        fields_width, fields_height = flow.target_size(width, height)
        pairs += count
        pixels += count * fields_width * fields_height
    return pairs, pixels

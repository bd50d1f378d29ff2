"""Small videos and caches for the tests of `pipeline inspect`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner, Result

from data.cache.features import create_features
from data.cache.flow import create_flow
from data.cache.header import Header
from data.video.reading import file_digest
from pipeline.cli import cli

PARAMETERS: dict[str, object] = {
    "flow": {"bound": 20.0, "dtype": "uint8", "short_side": 64},
    "plan": {"plan": "dense", "stride": 1, "stack_length": 3},
    "engine": "OpenCV 5",
}
VERSIONS = {"opencv": "5.0.0", "numpy": "2.0"}


def run(*arguments: object) -> Result:
    """Run `pipeline inspect` as a user does."""
    return CliRunner().invoke(cli, ["inspect", *map(str, arguments)])


def write_video(path: Path, frames: int = 6, step: tuple[int, int] = (2, 0)) -> Path:
    """Write a texture that moves by `step` px, right and down, from frame to frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (9, 9), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"png "), 25, (80, 64))
    assert writer.isOpened()
    for number in range(frames):
        moved = np.roll(texture, (number * step[1], number * step[0]), axis=(0, 1))
        writer.write(np.ascontiguousarray(moved[32:96, 40:120]))
    writer.release()
    return path


def flow_header(video: Path | None, **changes: object) -> Header:
    """Header of a flow cache made from a video, or from none."""
    known: dict[str, object] = {"source": "gone.avi", "source_digest": "0" * 64, "source_size": 7}
    if video is not None:
        known = {
            "source": str(video),
            "source_digest": file_digest(video),
            "source_size": video.stat().st_size,
        }
    common = {"decoded_frames": 6, "claimed_frames": 6, "versions": VERSIONS}
    return Header("flow", **{"parameters": PARAMETERS, **common, **known, **changes})  # type: ignore[arg-type]


def write_flow(
    path: Path, video: Path | None = None, fields: np.ndarray | None = None, **changes: object
) -> Path:
    """Write a flow cache of (P, H, W, 2) fields; by default two fields of 16×12 px."""
    if fields is None:
        fields = np.zeros((2, 12, 16, 2), np.float32)
        fields[1, :, :, 0] = 3.0
    count = len(fields)
    first = np.arange(count)
    with create_flow(
        path,
        flow_header(video, **changes),
        pairs=np.stack([first, first + 1], axis=1),
        frame_time=np.arange(count + 1) / 25,
        height=fields.shape[1],
        width=fields.shape[2],
        bound=20.0,
    ) as writer:
        for row, field in enumerate(fields):
            writer.put(row, field)
    return path


def write_features(path: Path, upstream: str, **changes: object) -> Path:
    """Write a feature cache of two maps of 4×2×2, made from flow of that content."""
    known: dict[str, object] = {
        "source": "gone.avi",
        "source_digest": "0" * 64,
        "decoded_frames": 6,
        "parameters": {"input_size": 64},
        "weights": {"rgb": "a" * 64, "flow": "b" * 64, "fusion": "c" * 64},
        "upstream": upstream,
        "versions": VERSIONS,
    }
    header = Header("features", **{**known, **changes})  # type: ignore[arg-type]
    frames = np.array([1, 4])
    with create_features(path, header, frames, frames / 25, (4, 2, 2)) as writer:
        for row in range(2):
            writer.put(row, np.full((4, 2, 2), row + 0.5, np.float16))
    return path

"""A small trained run and its videos, made once by the commands, for `score` and `explain`.

Each video shows a chequered patch on plain grey. The "planted" run is the trained one with its
attention replaced: it looks at the cells that look most like the patch did in the training videos.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from data.cache.features import open_features
from model.features.geometry import MapGeometry
from pipeline.cli import cli
from pipeline.runner.files import read_safetensors, write_safetensors
from pipeline.runs.folder import CHECKPOINT
from tests.helpers.odd_videos import encode

SHORT, LONG, FRAMES, PATCH = 96, 144, 16, 32
GEOMETRY = MapGeometry.of(128, "conv4")
# Key: upright or not, and the patch's middle as shares of width and height.
TRAINING = {
    "a.mp4": (False, 0.32, 0.32),
    "b.mp4": (True, 0.82, 0.82),
    "c.mp4": (False, 0.57, 0.82),
    "d.mp4": (True, 0.82, 0.57),
}
NEW = {
    "landscape.mp4": (False, 0.82, 0.32),
    "portrait.mp4": (True, 0.32, 0.82),
    "rotated.mp4": (True, 0.57, 0.32),
}
STAGE_ONE = (
    *("--segments", "2", "--candidates", "1", "--stack-length", "2"),
    *("-j", "1", "--device", "cpu"),
)
TRUNKS = (
    *("--weights", "random", "--input-size", "128", "--trunk-stage", "conv4"),
    *("--fusion-hidden", "64", "--fusion-channels", "32"),
)


@dataclass(frozen=True)
class World:
    """Folders of the material."""

    root: Path

    @property
    def videos(self) -> Path:
        return self.root / "videos"

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def flow(self) -> Path:
        return self.root / "flow"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def planted(self) -> Path:
        return self.root / "planted"

    @property
    def cache(self) -> Path:
        return self.root / "cache"


def pipeline(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def done(*arguments: object) -> Result:
    result = pipeline(*arguments)
    assert result.exit_code == 0, result.output
    return result


def patch_box(name: str) -> tuple[int, int, int, int, int, int]:
    """Width and height of a video as shown, and the patch's left, top, right and lower edge."""
    upright, x, y = (TRAINING | NEW)[name]
    width, height = (SHORT, LONG) if upright else (LONG, SHORT)
    left, top = round(x * width - PATCH / 2), round(y * height - PATCH / 2)
    return width, height, left, top, left + PATCH, top + PATCH


def frames_of(name: str) -> list[np.ndarray]:
    width, height, left, top, right, lower = patch_box(name)
    board = (np.indices((PATCH, PATCH)) // 4).sum(axis=0) % 2 * 255
    frames = []
    for number in range(FRAMES):
        frame = np.full((height, width), 120, np.uint8)
        shift = number % 2  # Something must move.
        frame[top:lower, left + shift : right + shift] = board[:, : width - left - shift]
        frames.append(cv2.merge([frame] * 3))
    return frames


def write_video(path: Path, frames: list[np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (frames[0].shape[1], frames[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, size)
    for frame in frames:
        writer.write(np.ascontiguousarray(frame))
    writer.release()
    return path


def write_new(folder: Path, name: str) -> Path:
    """Write a new video; the rotated one is stored lying and asks to be turned when shown."""
    if name != "rotated.mp4":
        return write_video(folder / name, frames_of(name))
    lying = [np.rot90(frame, -1) for frame in frames_of(name)]
    stored = write_video(folder / "lying" / name, lying)
    turn = ["-display_rotation", "90", "-i", str(stored), "-c", "copy"]
    path = encode(folder / name, turn)
    shutil.rmtree(folder / "lying")
    return path


def make_world(root: Path) -> World:
    """Run extract-flow, extract-features and train-ranker on the training videos."""
    world = World(root)
    for name in TRAINING:
        write_video(world.videos / name, frames_of(name))
    (root / "pairs.csv").write_text("better,worse\na,b\nb,c\na,c\nc,d\na,d\n")
    done("extract-flow", world.videos, "-o", world.flow, *STAGE_ONE, "--short-side", 32)
    flow = ("--flow", world.flow)
    done("extract-features", world.videos, *flow, "-o", world.features, *STAGE_ONE, *TRUNKS)
    train(world, world.run)
    plant(world)
    return world


def train(world: World, output: Path, *more: object) -> None:
    done(
        *("train-ranker", "--features", world.features, "--pairs", world.root / "pairs.csv"),
        *("-o", output, "--segments", 2, "--epochs", 3, "--device", "cpu"),
        *("--protocol", "last", *more),
    )


def plant(world: World) -> None:
    """Copy the run, and make its attention look for the patch."""
    shutil.copytree(world.run, world.planted)
    tensors, metadata = read_safetensors(world.run / CHECKPOINT)
    direction, offset = patch_direction(world)
    for name in tensors:
        if ".w_ha." in name or ".w_xa." in name or ".w_a." in name:
            tensors[name] = torch.zeros_like(tensors[name])
    (prefix,) = {name.partition("w_xa.")[0] for name in tensors if ".w_xa." in name}
    # tanh is straight for small values: the logit is about 30 where a cell is like the patch.
    tensors[prefix + "w_xa.weight"][0] = torch.from_numpy(direction) * 0.2
    tensors[prefix + "w_xa.bias"][0] = offset * 0.2
    tensors[prefix + "w_a.weight"][0, 0] = 150.0
    write_safetensors(world.planted / CHECKPOINT, tensors, metadata)


def patch_direction(world: World) -> tuple[np.ndarray, float]:
    """Fit, by ridge regression, which training cells have their centre on the patch."""
    cells, labels = [], []
    for name in TRAINING:
        with open_features(world.features / f"{name}.h5") as cache:
            maps = np.stack([cache.read(row) for row in range(len(cache))]).astype(np.float64)
        side = maps.shape[2]
        width, height, left, top, right, lower = patch_box(name)
        centres = GEOMETRY.first + np.arange(side) * GEOMETRY.cell
        across = (centres * width > left) & (centres * width < right)
        down = (centres * height > top) & (centres * height < lower)
        for each in maps:
            cells.append(each.reshape(len(each), -1).T)
            labels.append((down[:, None] & across[None, :]).ravel().astype(float))
    x, y = np.concatenate(cells), np.concatenate(labels)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = (x - mean) / deviation
    weights = np.linalg.solve(z.T @ z + 5 * np.eye(z.shape[1]), z.T @ (y - y.mean())) / deviation
    return weights.astype(np.float32), float(y.mean() - mean @ weights)


_worlds: list[World] = []


def material(factory: pytest.TempPathFactory) -> World:
    """Return the material, made once a session."""
    if not _worlds:
        _worlds.append(make_world(factory.mktemp("scored")))
    return _worlds[0]

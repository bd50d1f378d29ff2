"""Goldens: what an earlier version wrote, and the inputs it wrote that from.

Nothing here depends on a codec, a random generator or a processor: frames are BMP files of integer
arithmetic, weights are rounded fractions. `python -m tests.goldens.material` writes the goldens
anew; do that only where a change of a contract is meant, and say so in its commit.
"""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from click.testing import CliRunner, Result
from torchvision.models import resnet101

from pipeline.cli import cli
from tests.helpers.places import FIXTURES

GOLDENS = FIXTURES / "goldens"
VIDEOS = [f"person_{number}" for number in range(6)]
FRAMES, HEIGHT, WIDTH = 26, 48, 64

FLOW = ["--short-side", "32", "--segments", "4", "--candidates", "1", "-j", "1", "--device", "cpu"]
FEATURES = ["--trunk-stage", "conv4", "--input-size", "32", "--fusion-hidden", "2"]
FEATURES += ["--fusion-channels", "4", "--segments", "4", "--candidates", "1", "-j", "1"]
FEATURES += ["--device", "cpu", "--adapt-flow", "none"]  # As when they were frozen.
RANKER = ["--segments", "4", "--hidden-size", "4", "--attention-size", "4", "--device", "cpu"]
TRAINING = [*RANKER, "--epochs", "60", "--learning-rate", "0.05", "--protocol", "last"]
# Over 60 steps a processor's rounding grows to 0.1 of a score; over 5 it stays under 1e-4.
SHORT_TRAINING = [*RANKER, "--epochs", "5", "--learning-rate", "0.05", "--protocol", "last"]
EVALUATION = [*RANKER, "--variant", "full", "--folds", "3", "--epochs", "4", "--seeds", "1"]
EVALUATION += ["--draws", "100", "-j", "1"]


def invoke(*words: object) -> Result:
    """Run the command line."""
    return CliRunner().invoke(cli, [str(word) for word in words])


def write_videos(folder: Path) -> Path:
    """Write one frame folder a person; the later the person, the jerkier its texture moves."""
    y, x = np.mgrid[:128, :128]
    noise = (x * 2654435761 + y * 40503 + x * y * 97) % 4093 % 256
    texture = sum(np.roll(noise, (i, j), (0, 1)) for i in range(4) for j in range(4)) // 16
    for number, name in enumerate(VIDEOS):
        (folder / name).mkdir(parents=True)
        for frame in range(FRAMES):
            jerk = frame * 7 % 5 * number // 4
            moved = np.roll(texture, (jerk, frame + number), (0, 1))[:HEIGHT, :WIDTH]
            (folder / name / f"img_{frame:05}.bmp").write_bytes(_bmp(moved.astype(np.uint8)))
    return folder


def _bmp(grey: np.ndarray) -> bytes:
    """Return a 24-bit BMP file of a grey picture (H, W), W a multiple of 4."""
    height, width = grey.shape
    pixels = np.repeat(grey[::-1, :, None], 3, axis=2).tobytes()
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    return head + info + pixels


def write_weights(path: Path) -> Path:
    """Write a ResNet101 state dict of fractions that every machine rounds alike."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in resnet101().state_dict().items()}
    state = {}
    for name, shape in shapes.items():
        if len(shape) == 4:
            order = np.arange(int(np.prod(shape)), dtype=np.int64) * 2654435761 % 2039
            scale = np.sqrt(6.0 / (shape[1] * shape[2] * shape[3])) / 1019
            value = torch.from_numpy(((order - 1019) * scale).astype(np.float16)).reshape(shape)
        elif name.endswith(("running_var", "weight")):
            value = torch.ones(shape, dtype=torch.float16)
        else:
            value = torch.zeros(shape, dtype=torch.float16)
        state[name] = value
    # The last convolution of each residual block is weak: 33 blocks would overflow otherwise.
    for name in state:
        if name.endswith("bn3.weight"):
            state[name] = state[name] * 0.125
    torch.save(state, path)
    return path


def write_pairs(path: Path) -> Path:
    """Write all 15 judgements: the earlier person is the better one."""
    pairs = [f"{a},{b}" for i, a in enumerate(VIDEOS) for b in VIDEOS[i + 1 :]]
    path.write_text("\n".join(["better,worse", *pairs]) + "\n", encoding="utf-8")
    return path


def command_options() -> dict[str, dict[str, list[Any]]]:
    """Return, for every command, each parameter's flags, type and default."""
    context = click.Context(cli)
    found: dict[str, dict[str, list[Any]]] = {}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is None:
            raise ValueError(f"{name}: no such command")
        found[name] = {
            " ".join((*param.opts, *param.secondary_opts)): [
                param.type.name,
                param.multiple if isinstance(param, click.Option) else param.nargs,
                _default(param),
            ]
            for param in command.params
        }
    return found


def _default(param: click.Parameter) -> str | None:
    """Return a default as text; None where a plain switch or a missing value has none."""
    switch = isinstance(param, click.Option) and param.is_flag and not param.secondary_opts
    plain = isinstance(param.default, int | float | str) and not switch
    return str(param.default) if plain else None


def described(path: Path) -> list[dict[str, Any]]:
    """Return what `inspect --json` says of a cache, without the places on this machine."""
    found: list[dict[str, Any]] = json.loads(invoke("inspect", "--json", path).stdout)
    for entry in found:
        for name in ("path", "source", "versions"):
            entry.pop(name)
    return found


def freeze(goldens: Path) -> None:
    """Write every golden with the code as it is."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        videos, pairs = write_videos(work / "videos"), write_pairs(work / "pairs.csv")
        weights = write_weights(work / "resnet101.pth")
        flow, features, run = work / "flow", work / "features", work / "run"
        short = work / "short"
        steps: list[list[object]] = [
            ["extract-flow", videos, "-o", flow, *FLOW],
            ["extract-features", videos, "--flow", flow, "-o", features, *FEATURES],
            ["train-ranker", "--features", features, "--pairs", pairs, "-o", run, *TRAINING],
            [
                "train-ranker",
                "--features",
                features,
                "--pairs",
                pairs,
                "-o",
                short,
                *SHORT_TRAINING,
            ],
            ["score", run, videos, "--features", features, "--csv", work / "scores.csv"],
            ["evaluate", "--features", features, "--pairs", pairs, "-o", work / "e", *EVALUATION],
        ]
        steps[1] += ["--rgb-weights", weights]
        steps[4] += ["-j", "1", "--device", "cpu"]
        for step in steps:
            result = invoke(*step)
            if result.exit_code:
                raise SystemExit(f"{step[0]}: exit {result.exit_code}: {result.output}")
        shutil.rmtree(goldens, ignore_errors=True)
        for kind in (flow, features):
            shutil.copytree(kind, goldens / kind.name, ignore=shutil.ignore_patterns("*.jsonl"))
            text = json.dumps(described(kind / "person_0.h5"), indent=1, sort_keys=True)
            (goldens / f"inspect_{kind.name}.json").write_text(text + "\n", encoding="utf-8")
        (goldens / "run").mkdir()
        for name in ("checkpoint.safetensors", "stage_one.safetensors", "scores.csv"):
            shutil.copy(run / name, goldens / "run" / name)
        shutil.copy(short / "scores.csv", goldens / "short_training.csv")
        shutil.copy(work / "e" / "table.txt", goldens / "table.txt")
        shutil.copy(work / "scores.csv", goldens / "scores.csv")
    text = json.dumps(command_options(), indent=1, sort_keys=True)
    (goldens / "options.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    freeze(GOLDENS)

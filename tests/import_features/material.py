"""Arrays as other extractors leave them, and the command line that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from click.testing import CliRunner, Result

from pipeline.cli import cli

#: Sizes that let a training end within a second.
TRAINING = ("--segments", 4, "--hidden-size", 8, "--attention-size", 8, "--device", "cpu")


def pipeline(*words: Any) -> Result:
    return CliRunner().invoke(cli, list(map(str, words)))


def done(*words: Any) -> str:
    """Run a command that must succeed; return all that it says."""
    result = pipeline(*words)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: Any, code: int = 2) -> str:
    """Run a command that must fail; return its last line, which must say it all."""
    result = pipeline(*words)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stderr.strip().splitlines()[-1]


def vectors(number: int, rows: int | None = None, channels: int = 6) -> np.ndarray:
    """Return (T, C) features of a video whose skill grows with its number."""
    rng = np.random.default_rng(number)
    values = rng.normal(size=(rows or 10 + number % 3, channels)).astype(np.float32)
    values[:, 0] += number
    return values


def write_vectors(folder: Path, numbers: range, ending: str = "") -> Path:
    """Write one .npy file a video, named v00.npy and so on."""
    folder.mkdir(parents=True)
    for number in numbers:
        np.save(folder / f"v{number:02}{ending}.npy", vectors(number))
    return folder


def write_maps(folder: Path, numbers: range) -> Path:
    """Write one .npz file a video with maps (T, C, 2, 3) and time stamps in milliseconds."""
    folder.mkdir(parents=True)
    for number in numbers:
        maps = vectors(number, channels=36).reshape(-1, 6, 2, 3)
        stamps = np.arange(len(maps)) * 200 + 100
        np.savez_compressed(folder / f"v{number:02}.npz", conv=maps, stamps=stamps)
    return folder


def write_contract(path: Path, number: int) -> np.ndarray:
    """Write an HDF5 file as the README describes feature caches, and nothing else."""
    maps = vectors(number, channels=24).astype(np.float16).reshape(-1, 6, 2, 2)
    with h5py.File(path, "w") as file:
        file["maps"] = maps
        file["frame_index"] = np.arange(len(maps)) * 8 + 4
        file["time"] = (np.arange(len(maps)) * 8 + 4) / 25
    return maps


def write_pairs(path: Path, numbers: range) -> Path:
    """Write all pairs, by the names of videos that are not there."""
    rows = [f"v{a:02}.mp4,v{b:02}.mp4" for a in numbers for b in numbers if a > b]
    path.write_text("\n".join(["better,worse", *rows]) + "\n")
    return path

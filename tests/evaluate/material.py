"""Tiny feature caches with a planted signal, and the command that is tested on them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from pipeline.cli import cli

VIDEOS = 12
SNIPPETS = 4
FAST = ["--segments", "4", "--hidden-size", "8", "--epochs", "15", "-j", "1"]


def write_features(folder: Path, signal: bool = True) -> None:
    """Videos v00 (best) … v11 (worst): skill is the mean of the first channel."""
    rng = np.random.default_rng(0)
    for number in range(VIDEOS):
        key = f"s{number % 3}/v{number:02}.avi"
        frames = np.arange(SNIPPETS) * 10 + 5
        header = Header(
            kind="features", source=key, source_digest=f"{number:064}", decoded_frames=40
        )
        with create_features(
            cache_path(folder, key), header, frames, frames / 25.0, (6, 2, 2)
        ) as writer:
            for row in range(SNIPPETS):
                maps = rng.normal(0, 0.3, (6, 2, 2))
                maps[0] += (VIDEOS - number) / 4 if signal else 0
                writer.put(row, maps.astype(np.float32))


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", *map(str, args)])


def table_rows(output: Path) -> dict[str, dict[str, str]]:
    lines = (output / "table.csv").read_text().splitlines()
    return {row["method"]: row for row in csv.DictReader(lines)}

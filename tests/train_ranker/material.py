"""How the tests run train-ranker, and what they compare."""

from __future__ import annotations

import json

from click.testing import CliRunner

from model.ranker.options import RankerOptions
from pipeline.cli import cli

V, S, C, SIDE = 10, 8, 4, 3
FLAGS = ["--segments", "4", "--hidden-size", "6", "--attention-size", "4", "--epochs", "12"]
RANKER = RankerOptions(segments=4, hidden_size=6, attention_size=4)


def write_pairs(path, pairs):
    path.write_text("better,worse\n" + "".join(f"{a},{b}\n" for a, b in pairs))


def run(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def train(place, output, *more, pairs="pairs.csv"):
    return run(
        "train-ranker", "--features", place / "features", "--pairs", place / pairs,
        "-o", output, *FLAGS, *more,
    )  # fmt: skip


def contents(folder):
    """Return each file's bytes; of the record all but its time, which no two runs share."""
    found = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
    if "record.json" in found:
        found["record.json"] = json.loads(found["record.json"]) | {"seconds": None}
    return found

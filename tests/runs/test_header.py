"""A checkpoint's header is checked before anything is built from it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from data.errors import InputError
from model.ranker.build import build
from model.ranker.options import RankerOptions, TrainOptions
from pipeline.runs.folder import CHECKPOINT, Run, load_run, write_checkpoint

RANKER = RankerOptions(segments=4, hidden_size=6, attention_size=4)


def write_run(folder: Path) -> Path:
    """Write the checkpoint of an untrained ranker; return its path."""
    folder.mkdir(exist_ok=True)
    run = Run(
        model=build(RANKER, 4, 2, 2),
        ranker=RANKER,
        train=TrainOptions(),
        shape=(4, 2, 2),
        weights={"rgb": "0" * 64},
        parameters={"plan": {"stride": 1}},
        snippet_stride=1,
        parts={"a.avi": (0, 3)},
        keys=("a.avi", "b.avi"),
        scores=(0.5, -0.5),
        training_videos=("a.avi",),
        protocol="the last epoch",
        best_epoch=3,
        seed=0,
        accuracy={"train": 1.0},
    )
    write_checkpoint(folder, run)
    return folder / CHECKPOINT


def alter(path: Path, place: str, value: Any) -> None:
    """Set one value of a checkpoint's header, by its path with dots; "" removes it."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["dexterank"])
    *groups, name = place.split(".")
    target = header
    for group in groups:
        target = target[group]
    if value == "":
        del target[name]
    else:
        target[name] = value
    save_file(load_file(path), path, {"dexterank": json.dumps(header)})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("shape", [10**63, 2, 2]),
        ("shape", [4, 2]),
        ("shape", 4),
        ("ranker.segments", 10**9),
        ("ranker.segments", 2.5),
        ("ranker.hidden_size", 60_000),
        ("ranker.variant", ["full"]),
        ("ranker.initial_hidden", "ones"),
        ("ranker.nonsense", 1),
        ("ranker", None),
        ("train.learning_rate", "fast"),
        ("train.epochs", True),
        ("parameters", None),
        ("weights", {"rgb": 3}),
        ("snippet_stride", 0),
        ("snippet_stride", ""),
        ("parts", {"a.avi": [0]}),
        ("keys", ["a.avi"]),
        ("scores", [0.5, None]),
        ("scores", [float("nan"), 1.0]),
        ("best_epoch", "3"),
        ("accuracy", {"train": "all"}),
    ],
)
def test_odd_headers_are_refused_at_once(tmp_path: Path, place: str, value: Any) -> None:
    """Such headers hung, ended with an unexpected error, or were accepted."""
    path = write_run(tmp_path)
    assert load_run(tmp_path).snippet_stride == 1
    alter(path, place, value)
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"damaged|another shape than its options") as caught:
        load_run(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    # Building 60,000 hidden units takes minutes and 40 GB.
    assert time.perf_counter() - start < 30

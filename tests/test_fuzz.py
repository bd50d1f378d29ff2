"""Whatever is in a file that is read back, a command answers in its own words.

Small caches, checkpoints and configuration files are changed at random, and a command is run on
them: exit code 0, 1 or 2, no "unexpected", no traceback, nothing written. `DEXTERANK_FUZZ=50000`
tries more examples than the 2,000 of every day.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.fuzz import JSON, check, examples
from tests.helpers.inspected import write_features, write_flow
from tests.runs.test_header import write_run

BYTES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def flipped(content: bytes, changes: list[tuple[int, int]]) -> bytes:
    """Return bytes with some of them replaced; places are counted round."""
    result = bytearray(content)
    for position, value in changes:
        result[position % len(result)] = value
    return bytes(result)


@pytest.fixture(scope="module")
def caches(place: Path) -> dict[str, bytes]:
    """Bytes of a small cache of each kind."""
    flow = write_flow(place / "flow.h5")
    features = write_features(place / "features.h5", "0" * 64)
    return {"flow": flow.read_bytes(), "features": features.read_bytes()}


@given(st.sampled_from(["flow", "features"]), BYTES, st.integers(0, 20), st.booleans())
@examples(0.15)
def test_caches_with_other_bytes(
    place: Path,
    caches: dict[str, bytes],
    kind: str,
    changes: list[tuple[int, int]],
    cut: int,
    verify: bool,
) -> None:
    """Bit rot and half copies crash HDF5's callers in many ways."""
    folder = place / "bytes"
    folder.mkdir(exist_ok=True)
    content = flipped(caches[kind], changes)
    (folder / "a.h5").write_bytes(content if cut else content[: len(content) // 2])
    check("inspect", folder / "a.h5", *["--verify"] * verify, folder=folder)


ATTRIBUTES = st.one_of(
    JSON.map(lambda value: json.dumps(value, allow_nan=True)),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=9),
    st.lists(st.integers(0, 9), max_size=3).map(lambda each: np.array(each, np.int64)),
    st.just(None),
)
# fmt: off
NAMES = [
    "schema", "kind", "source", "source_size", "source_digest", "decoded_frames",
    "claimed_frames", "rotation", "parameters", "upstream", "weights", "versions", "warnings",
    "fingerprint", "complete", "content_digest",
]
# fmt: on


@given(st.sampled_from(["flow", "features"]), st.sampled_from(NAMES), ATTRIBUTES)
@examples(0.12)
def test_caches_with_other_headers(
    place: Path, caches: dict[str, bytes], kind: str, name: str, value: object
) -> None:
    """A header may be JSON of any kind, or no JSON."""
    folder = place / "headers"
    folder.mkdir(exist_ok=True)
    (folder / "a.h5").write_bytes(caches[kind])
    with h5py.File(folder / "a.h5", "r+") as file:
        if value is None:
            del file.attrs[name]
        else:
            file.attrs[name] = value
    check("inspect", folder / "a.h5", "--verify", folder=folder)


KINDS = st.sampled_from(["u1", "i8", "f2", "f4", "f8", "c16", "S3", "?", "M8[s]"])
SHAPES = st.lists(st.integers(0, 3), max_size=5).map(tuple)


@given(
    st.sampled_from(["flow", "features"]),
    st.sampled_from(["maps", "flow", "time", "frame_index", "next_index", "frame_time"]),
    KINDS,
    SHAPES,
)
@examples(0.12)
def test_caches_with_other_arrays(
    place: Path, caches: dict[str, bytes], kind: str, name: str, dtype: str, shape: tuple[int, ...]
) -> None:
    """An array of another type or shape was trained on, or ended the command."""
    folder = place / "arrays"
    folder.mkdir(exist_ok=True)
    (folder / "a.h5").write_bytes(caches[kind])
    with h5py.File(folder / "a.h5", "r+") as file:
        if name in file:
            del file[name]
        code = "i8" if dtype == "M8[s]" else dtype
        file.create_dataset(name, data=np.zeros(shape, code))
    check("inspect", folder / "a.h5", "--verify", folder=folder)


@pytest.fixture(scope="module")
def checkpoint(place: Path) -> bytes:
    return write_run(place / "run").read_bytes()


# fmt: off
FIELDS = [
    "shape", "weights", "parameters", "snippet_stride", "parts", "keys", "feature_digests",
    "scores", "training_videos", "protocol", "best_epoch", "seed", "accuracy", "ranker", "train",
    "format", "ranker.segments", "ranker.variant", "ranker.hidden_size", "ranker.attention_size",
    "train.epochs", "train.patience", "train.optimizer",
]
# fmt: on


@given(st.sampled_from(FIELDS), JSON)
@examples(0.12)
def test_checkpoints_with_other_headers(
    place: Path, checkpoint: bytes, name: str, value: object
) -> None:
    """A checkpoint that someone passed on may claim anything."""
    folder = place / "checkpoints"
    folder.mkdir(exist_ok=True)
    size = struct.unpack("<Q", checkpoint[:8])[0]
    header = json.loads(checkpoint[8 : 8 + size])
    about = json.loads(header["__metadata__"]["dexterank"])
    *groups, last = name.split(".")
    (about[groups[0]] if groups else about)[last] = value
    header["__metadata__"]["dexterank"] = json.dumps(about)
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + checkpoint[8 + size :]
    (folder / "checkpoint.safetensors").write_bytes(content)
    check("inspect", folder / "checkpoint.safetensors", folder=folder)


@given(BYTES)
@examples(0.03)
def test_checkpoints_with_other_bytes(
    place: Path, checkpoint: bytes, changes: list[tuple[int, int]]
) -> None:
    """Half copies and bit rot in the header of a safetensors file."""
    folder = place / "rotten"
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint.safetensors").write_bytes(flipped(checkpoint, changes))
    check("inspect", folder / "checkpoint.safetensors", folder=folder)


TOML = st.one_of(
    st.text(max_size=60),
    st.dictionaries(
        st.sampled_from(["output", "epochs", "extract-flow", "bound", "jobs", "a b"]), JSON
    ).map(lambda values: "\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items())),
    st.dictionaries(st.sampled_from(["bound", "jobs", "engine", "stride", "output"]), JSON).map(
        lambda values: (
            "[extract-flow]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items())
        )
    ),
)


@given(TOML)
@examples(0.08)
def test_configuration_files(place: Path, text: str) -> None:
    """A configuration file is typed by hand."""
    folder = place / "toml"
    folder.mkdir(exist_ok=True)
    (folder / "a.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    check(
        *("extract-flow", folder / "none", "-o", folder / "out", "--config", folder / "a.toml"),
        "--dry-run",
        folder=folder,
    )

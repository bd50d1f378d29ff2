"""Arrays that cannot be used: one line that says which, what is wrong and what to do."""

from __future__ import annotations

import io
import os
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.import_features.material import (
    done,
    pipeline,
    refused,
    vectors,
    write_contract,
    write_pairs,
    write_vectors,
)


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def claim(shape: tuple[int, ...], dtype: str = "<f4", content: bytes = b"\0" * 80) -> bytes:
    """Return an .npy file whose header claims a shape that its content need not have."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + content


def member(content: bytes) -> bytes:
    """Return an .npz file with one member `features`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", content)
    return stream.getvalue()


def saved(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


HUGE = (10**9, 10**6)
FILES = {
    "empty.npy": (b"", "cannot be read as .npy"),
    "text.npy": (b"better,worse\n", "cannot be read as .npy"),
    "empty.npz": (b"", "cannot be read as .npz"),
    "text.h5": (b"better,worse\n", "cannot be read as .h5"),
    "cut.npy": (saved(vectors(0))[:-1], "claims 240 bytes; the file has 239"),
    "huge.npy": (claim(HUGE), "claims 4,000,000,000,000,000 bytes; the file has 80"),
    "negative.npy": (claim((-1, 4)), "it claims the shape (-1, 4)"),
    "huge.npz": (member(claim(HUGE)), "features claims 4,000,000,000,000,000 bytes"),
    "cut.npz": (member(saved(vectors(0)))[:-40], "cannot be read as .npz"),
    "wide.npy": (claim((0, 10**12)), "has the shape (0, 1000000000000), expected (T, C)"),
    "none.npy": (saved(np.zeros((0, 6), np.float32)), "has the shape (0, 6), expected (T, C)"),
    "one.npy": (saved(np.zeros(6, np.float32)), "has the shape (6), expected (T, C)"),
    "three.npy": (saved(np.zeros((1, 5, 6), np.float32)), "expected (T, C) or (T, C, H, W)"),
    "whole.npy": (saved(np.zeros((5, 6), np.int64)), "holds int64, expected float16"),
    "complex.npy": (saved(np.zeros((5, 6), np.complex64)), "holds complex64"),
    "fields.npy": (saved(np.zeros(5, [("a", "<f4")])), "expected float16"),
    "order.npz": (b"", "features is in Fortran order; save np.ascontiguousarray(features)"),
    "nan.npy": (saved(np.full((5, 6), np.nan, np.float32)), "feature 0 (counted from 0) holds"),
    "large.npy": (saved(np.full((5, 6), -7e5, np.float64)), "give --scale 0.01 for all files"),
    "video.mp4": (b"video", "expected a file ending in .npy, .npz, .h5 or .hdf5"),
}


@pytest.mark.parametrize("name", FILES)
def test_one_bad_file_is_one_line_and_the_others_go_on(tmp_path: Path, name: str) -> None:
    """A traceback, a cache of rubbish, or one bad file that stops hundreds of good ones."""
    arrays = write_vectors(tmp_path / "a", range(2))
    content, said = FILES[name]
    (arrays / name).write_bytes(content)
    if name == "order.npz":
        np.savez(arrays / name, features=np.asfortranarray(vectors(0)))
    output = tmp_path / "f"
    result = pipeline("import-features", arrays, arrays / name, "-o", output, "--rate", 4, "-j", 1)
    assert result.exit_code == 1, result.output
    (line,) = [each for each in result.stderr.splitlines() if each.startswith("error:   ")]
    assert said in line
    assert str(arrays / name) in line
    assert sorted(path.name for path in output.iterdir()) == ["v00.h5", "v01.h5"]


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    """A file of features from the net that runs its sender's code."""
    bomb, arrays = tmp_path / "exploded", tmp_path / "a"
    arrays.mkdir()
    objects = np.array([Bomb(bomb)], dtype=object)
    np.save(arrays / "a.npy", objects, allow_pickle=True)
    np.savez(arrays / "b.npz", features=objects)
    (arrays / "c.npy").write_bytes(pickle.dumps(Bomb(bomb)))
    line = refused("import-features", arrays, "-o", tmp_path / "f", "--rate", 4)
    assert "holds Python objects (a pickle), which are never loaded" in line
    assert "(like all 3 files)" in line
    assert not bomb.exists()


def test_a_claim_of_terabytes_allocates_nothing(tmp_path: Path) -> None:
    """A header of a few bytes that takes the machine down."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features", (10**9, 2048), "f4", chunks=(1, 2048))
    (tmp_path / "b.npy").write_bytes(claim(HUGE))
    tracemalloc.start()
    result = pipeline("import-features", tmp_path, "-o", tmp_path / "f", "--rate", 4, "-j", 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.exit_code == 2, result.output
    assert peak < 200e6  # Modules that are imported on the way take tens of MB.


def test_arrays_elsewhere_are_not_read(tmp_path: Path) -> None:
    """A link in a file from the net that takes another file's content into the features."""
    write_vectors(tmp_path / "b", range(1))
    with h5py.File(tmp_path / "target.h5", "w") as file:
        file["features"] = vectors(0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = h5py.ExternalLink("target.h5", "features")
    line = refused("import-features", tmp_path / "a.h5", "-o", tmp_path / "f", "--rate", 4)
    assert "no array of two or four axes" in line


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([0, 1, 1, 2], "does not increase: 1 follows 1 (row 2, counted from 0)"),
        ([3, 2, 1, 0], "does not increase: 2 follows 3"),
        ([0, 1, np.nan, 2], "time holds values that are not finite"),
        ([-1, 0, 1, 2], "begins at -1"),
        ([0, 1e6, 2e6, 3e6], "give --time-unit ms"),
        ([0, 1, 2], "expected 4 time stamps, one a feature, found time (3, int64)"),
        (["a", "b", "c", "d"], "expected 4 time stamps"),
    ],
)
def test_time_stamps_that_cannot_be(tmp_path: Path, times: list[object], said: str) -> None:
    """Features in the wrong order, or of no time, would be ranked without a word."""
    path = tmp_path / "a.npz"
    np.savez(path, features=vectors(0, rows=4), time=np.array(times))
    assert said in refused("import-features", path, "-o", tmp_path / "f")


def test_options_that_are_missing_or_contradict(tmp_path: Path) -> None:
    """The user must learn which option to give, with the names to choose from."""
    arrays, output = write_vectors(tmp_path / "a", range(3)), tmp_path / "f"
    assert "give --rate, the features a second" in refused("import-features", arrays, "-o", output)
    line = refused("import-features", arrays, "-o", output, "--rate", 4, "--times", "t")
    assert "--rate and --times exclude each other" in line
    line = refused("import-features", arrays, "-o", output, "--rate", 4, "--ending", "_x")
    assert "none of 3 files ends in --ending _x" in line
    np.savez(arrays / "v00.npz", x=vectors(0), y=vectors(0))
    line = refused("import-features", arrays / "v00.npz", "-o", output, "--rate", 4)
    assert "several arrays of two or four axes; name the features with --array" in line
    assert "x (10×6, float32), y (10×6, float32)" in line
    line = refused("import-features", arrays / "v00.npz", "-o", output, "--array", "z")
    assert "no array z; it holds x" in line
    line = refused("import-features", arrays, "-o", output, "--rate", 4)
    assert "are both video 'v00'" in line
    assert "no such file or folder" in refused("import-features", output, "-o", output)
    (tmp_path / "none").mkdir()
    line = refused("import-features", tmp_path / "none", "-o", output)
    assert "no arrays found" in line
    assert "looked for files ending in h5 hdf5 npy npz" in line
    assert not output.exists()


def test_shapes_must_be_those_of_most_files(tmp_path: Path) -> None:
    """(C, T) arrays, or those of another extractor, among the others."""
    arrays = write_vectors(tmp_path / "a", range(3))
    np.save(arrays / "a.npy", vectors(4).T)
    line = refused("import-features", arrays, "-o", tmp_path / "f", "--rate", 4, code=1)
    assert "a: " in line
    assert "holds features of 11×1×1, 3 other files of 6×1×1; is time its first axis" in line


def test_scale_keeps_what_float16_cannot_hold(tmp_path: Path) -> None:
    """A remedy in a message that does not help, or values that vanish without a word."""
    path, output = tmp_path / "a.npy", tmp_path / "f"
    np.save(path, vectors(0) * 1e6)
    assert "give --scale 0.01 for all" in refused(
        "import-features", path, "-o", output, "--rate", 4, code=1
    )
    done("import-features", path, "-o", output, "--rate", 4, "--scale", 0.01)
    np.save(path, vectors(0) * 1e-8)
    words = ("import-features", path, "-o", output, "--rate", 4, "--overwrite")
    assert "lose digits in float16; --scale 1e+07 keeps them" in done(*words)
    assert "lose digits" not in done(*words, "--scale", 1e7)


def test_own_caches_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    """Each must be sent to the command that takes it."""
    write_contract(tmp_path / "a.mp4.h5", 0)
    done("import-features", tmp_path / "a.mp4.h5", "-o", tmp_path / "f")
    line = refused("import-features", tmp_path / "f", "-o", tmp_path / "g")
    assert "is a cache of this program already; it needs no import" in line
    write_pairs(tmp_path / "pairs.csv", range(8))
    for command in ("train-ranker", "evaluate"):
        words = (command, "--features", tmp_path, "--pairs", tmp_path / "pairs.csv")
        (tmp_path / "f" / "a.mp4.h5").unlink(missing_ok=True)
        line = refused(*words, "-o", tmp_path / "run")
        assert "no feature caches, but 1 file of other programs, e.g. a.mp4.h5;" in line
        assert "`pipeline import-features" in line

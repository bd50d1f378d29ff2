"""Arrays of other extractors become caches that say what they were made from."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from data.cache.features import open_features
from pipeline import import_arrays
from tests.import_features.material import (
    done,
    refused,
    vectors,
    write_contract,
    write_maps,
    write_vectors,
)


def read(path: Path) -> np.ndarray:
    with open_features(path) as cache:
        return np.stack([cache.read(row) for row in range(len(cache))])


def test_vectors_at_a_rate(tmp_path: Path) -> None:
    """(T, C) must arrive as (T, C, 1, 1), each feature in the middle of its part of the video."""
    arrays = write_vectors(tmp_path / "i3d", range(3), ending="_rgb")
    (arrays / "v00_flow.npy").write_bytes(b"another kind of features")
    output = tmp_path / "features"
    said = done("import-features", arrays, "-o", output, "--rate", 4, "--ending", "_rgb")
    assert "3 videos; 33 features" in said
    assert sorted(path.name for path in output.iterdir()) == ["v00.h5", "v01.h5", "v02.h5"]
    with open_features(output / "v01.h5") as cache:
        assert cache.shape == (11, 6, 1, 1)
        assert cache.header.decoded_frames == 2750  # Milliseconds.
        np.testing.assert_allclose(cache.time, (np.arange(11) + 0.5) / 4)
        np.testing.assert_array_equal(cache.frame_index, np.arange(11) * 250 + 125)
    expected = vectors(1).astype(np.float16)[:, :, None, None]
    np.testing.assert_array_equal(read(output / "v01.h5"), expected)


def test_maps_with_time_stamps(tmp_path: Path) -> None:
    """Named arrays, stamps in milliseconds and the video's own rate must be taken as said."""
    arrays = write_maps(tmp_path / "maps", range(2))
    names = ("--array", "conv", "--times", "stamps", "--time-unit", "ms", "--fps", 30)
    done("import-features", arrays, "-o", tmp_path / "f", *names)
    with open_features(tmp_path / "f" / "v01.h5") as cache:
        assert cache.shape == (11, 6, 2, 3)
        np.testing.assert_allclose(cache.time, np.arange(11) * 0.2 + 0.1)
        np.testing.assert_array_equal(cache.frame_index, np.arange(11) * 6 + 3)
        assert cache.header.decoded_frames == 66


def test_files_by_the_contract_alone(tmp_path: Path) -> None:
    """What the README promises other programs must be enough, and keep its own frames."""
    (tmp_path / "other" / "day").mkdir(parents=True)
    maps = write_contract(tmp_path / "other" / "day" / "a.mp4.h5", 3)
    done("import-features", tmp_path / "other", "-o", tmp_path / "f")
    path = tmp_path / "f" / "day" / "a.mp4.h5"
    np.testing.assert_array_equal(read(path), maps)
    with open_features(path) as cache:
        assert cache.frame_index[1] == 12
        assert cache.header.decoded_frames == 8 * len(maps) + 4


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_forms_of_one_array_give_the_same_cache(tmp_path: Path, dtype: str) -> None:
    """The order in memory, the compression, chunks and the type must not change the features."""
    values = vectors(5, rows=300).astype(np.float16).astype(dtype)
    files = tmp_path / "files"
    files.mkdir()
    np.save(files / "c.npy", values)
    np.save(files / "fortran.npy", np.asfortranarray(values))
    np.savez(files / "stored.npz", features=values)
    np.savez_compressed(files / "deflated.npz", features=values)
    with h5py.File(files / "chunked.hdf5", "w") as file:
        file.create_dataset("a/features", data=values, chunks=(7, 5), compression="lzf")
    done("import-features", files, "-o", tmp_path / "f", "--rate", 2)
    caches = [read(path) for path in sorted((tmp_path / "f").iterdir())]
    assert len(caches) == 5
    for each in caches:
        np.testing.assert_array_equal(each[:, :, 0, 0], values)


def test_long_arrays_come_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows lost, doubled or shifted where one block ends and the next begins."""
    monkeypatch.setattr("pipeline.import_features.arrays.BLOCK_BYTES", 100)
    arrays = write_vectors(tmp_path / "a", range(1))
    np.savez(arrays / "z.npz", features=vectors(0))
    with h5py.File(arrays / "h.h5", "w") as file:
        file.create_dataset("features", data=vectors(0), chunks=(3, 6))
    done("import-features", arrays, "-o", tmp_path / "f", "--rate", 2)
    for path in (tmp_path / "f").iterdir():
        np.testing.assert_array_equal(read(path)[:, :, 0, 0], vectors(0).astype(np.float16))


def test_caches_are_kept_and_never_stale(tmp_path: Path) -> None:
    """Caches of another array or another rate, silently kept, would be trained on."""
    arrays, output = write_vectors(tmp_path / "a", range(3)), tmp_path / "f"
    words = ("import-features", arrays, "-o", output, "--rate", 4)
    done(*words)
    before = (output / "v00.h5").read_bytes()
    assert "3 videos, 3 of them already done" in done(*words)
    assert "used rate 4, you asked 5" in refused(*words[:-1], 5)
    np.save(arrays / "v02.npy", vectors(7))
    assert "same name but other content" in refused(*words)
    assert (output / "v00.h5").read_bytes() == before
    done(*words, "--overwrite")
    assert len(read(output / "v02.h5")) == len(vectors(7))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """Counts that are wrong, or a folder that appears, make a dry run useless."""
    arrays = write_vectors(tmp_path / "a", range(3))
    (arrays / "broken.npy").write_bytes(b"")
    words = ("import-features", arrays, "-o", tmp_path / "f", "--rate", 4, "--dry-run")
    said = done(*words)
    assert "3, of which 0 done, 3 to do" in said
    assert "features  33 of 6×1×1, 396 B" in said
    assert "cannot    broken: " in said
    assert not (tmp_path / "f").exists()


def test_shards_make_what_one_run_makes(tmp_path: Path) -> None:
    """A video in no shard is missed, and one in two is made twice."""
    arrays = write_vectors(tmp_path / "a", range(5))
    for shard in ("1/2", "2/2"):
        done("import-features", arrays, "-o", tmp_path / "f", "--rate", 4, "--shard", shard)
    assert len(list((tmp_path / "f").iterdir())) == 5


def test_lists_and_the_output_inside_the_input(tmp_path: Path) -> None:
    """Caches of an earlier run must not be taken for input, nor lists be read otherwise."""
    arrays = write_vectors(tmp_path / "a", range(3))
    done("import-features", arrays, "-o", arrays / "f", "--rate", 4)
    assert "3 videos, 3 of them" in done("import-features", arrays, "-o", arrays / "f", "--rate", 4)
    (tmp_path / "list.txt").write_text("a/v00.npy\na/v02.npy\n")
    done("import-features", f"@{tmp_path}/list.txt", "-o", tmp_path / "g", "--rate", 4)
    assert sorted(path.name for path in (tmp_path / "g").rglob("*.h5")) == ["v00.h5", "v02.h5"]


def test_the_function_is_the_command(tmp_path: Path) -> None:
    """Python must give the caches of the command, and list what failed."""
    arrays = write_vectors(tmp_path / "a", range(3))
    np.save(arrays / "odd.npy", np.full((4, 6), np.nan, np.float32))
    done("import-features", arrays, "-o", tmp_path / "f", "--rate", 4, "--exclude", "odd*")
    result = import_arrays(arrays, tmp_path / "g", rate=4)
    assert result.videos == ("v00", "v01", "v02")
    assert "not finite" in result.failures["odd"]
    for path in (tmp_path / "f").iterdir():
        assert (tmp_path / "g" / path.name).read_bytes() == path.read_bytes()

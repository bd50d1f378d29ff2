"""Cache files: whole or absent, never silently stale, damage always found."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.cache.folder import (
    cache_differences,
    cache_path,
    cache_problems,
    check_folder,
    content_digest,
    create_cache,
    find_caches,
    key_of,
    read_header,
)
from data.cache.header import Header, header_differences
from data.errors import CacheError, InputError, StaleCacheError
from data.files import sweep


def make_header(**changes: object) -> Header:
    header = Header(
        kind="flow",
        source="/videos/a.mp4",
        source_size=10,
        source_digest="ab" * 32,
        decoded_frames=9,
        claimed_frames=-1,
        rotation=90,
        parameters={"flow": {"bound": 20.0, "size": None}, "plan": {"stack_length": 10}},
        versions={"h5py": "3"},
        warnings=("truncated",),
    )
    return dataclasses.replace(header, **changes)  # type: ignore[arg-type]


def write(path: Path, header: Header | None = None, value: int = 1) -> None:
    header = header or make_header()
    with create_cache(path, header) as file:
        fill(file, np.full((3, 2, 4, 5), value, np.uint8), header.kind)


def fill(file: h5py.File, values: np.ndarray, kind: str = "flow") -> None:
    """Write the arrays of a cache around its largest one."""
    count = len(values)
    file["time"] = np.arange(float(count))
    file["frame_index"] = np.arange(count)
    if kind == "features":
        file["maps"] = values.astype(np.float16)
        return
    flow = file.create_dataset("flow", data=values, chunks=(1, *values.shape[1:]), compression=1)
    flow.attrs.update({"scale": 0.1, "offset": 128.0, "clipped": 0.0})
    file["next_index"] = np.arange(count) + 1
    file["frame_time"] = np.arange(count + 1.0)


def test_header_survives_writing(tmp_path: Path) -> None:
    """A header read back differs: resuming would recompute, or trust, the wrong files."""
    write(tmp_path / "a.h5")
    assert read_header(tmp_path / "a.h5") == make_header()


def test_two_writes_make_the_same_bytes(tmp_path: Path) -> None:
    """A time stamp or random name inside the file: caches could not be compared or shared."""
    write(tmp_path / "a.h5")
    time.sleep(1.1)  # HDF5's object time stamps count whole seconds.
    write(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": {"flow": {"bound": 15.0}}}, "used bound 20, you asked 15"),
        ({"source_digest": "cd" * 32}, "other content"),
        ({"upstream": "x"}, "another flow cache"),
        ({"weights": {"rgb": "0123456789"}}, "rgb weights none, you asked 01234567"),
        ({"kind": "features"}, "holds flow, you asked features"),
    ],
)
def test_differences_are_named(change: dict[str, object], message: str) -> None:
    """A change that alters the arrays goes unnoticed, or is not named to the user."""
    wanted = make_header(**change)
    assert wanted.fingerprint != make_header().fingerprint
    assert any(message in line for line in header_differences(make_header(), wanted))


def test_paths_versions_and_number_types_are_not_differences() -> None:
    """Moving a folder, updating h5py or writing 20 for 20.0 would throw away days of flow."""
    moved = make_header(source="/elsewhere/a.mp4", versions={"h5py": "4"}, decoded_frames=-1)
    parameters = {"plan": {"stack_length": 10.0}, "flow": {"size": None, "bound": 20}}
    assert header_differences(make_header(), moved) == []
    assert header_differences(make_header(), make_header(parameters=parameters)) == []


def test_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    """An exception half way destroys the finished file, or litters the folder."""
    path = tmp_path / "a.h5"
    write(path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), create_cache(path, make_header()):
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.h5"]


def test_unwritable_place_is_one_clear_line(tmp_path: Path) -> None:
    """A full disk or a file in the way ends in a traceback instead of a listed failure."""
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(CacheError, match="cannot be written"):
        write(tmp_path / "out" / "a.h5")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_truncated_file_is_reported(tmp_path: Path, keep: float) -> None:
    """A file cut short (full disk, broken copy) is read as if it were whole."""
    path = tmp_path / "a.h5"
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(CacheError, match=r"a\.h5"):
        read_header(path)
    assert cache_problems(path)
    differences = cache_differences(path, make_header())
    assert differences is not None
    assert "damaged" in differences[0]


def test_unfinished_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    """A half-written, foreign or newer file is taken for a cache."""
    path = tmp_path / "a.h5"
    with pytest.raises(CacheError, match="no such cache"):
        read_header(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(CacheError, match="not a cache"):
        read_header(path)
    write(path)
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = False
    with pytest.raises(CacheError, match="never finished"):
        read_header(path)
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = 99
    with pytest.raises(CacheError, match="layout 99"):
        read_header(path)


def test_verify_finds_every_kind_of_change(tmp_path: Path) -> None:
    """`inspect --verify` calls a changed cache good."""
    path = tmp_path / "a.h5"
    write(path)
    assert cache_problems(path) == []
    with h5py.File(path, "r+") as file:
        file["time"][1] = 7.0
    assert cache_problems(path) == ["time: content differs from its digest"]
    write(path)
    with h5py.File(path, "r+") as file:
        file["extra"] = np.arange(3)
        file["extra"].attrs["sha256"] = "0"
    assert "datasets were added, removed or replaced" in cache_problems(path)
    write(path)
    with h5py.File(path, "r+") as file:
        del file["time"]
    assert cache_problems(path) == ["time is missing; delete the file and run extract-flow again"]
    write(path)
    with h5py.File(path, "r+") as file:
        file.attrs["parameters"] = '{"flow":{"bound":15}}'
    assert cache_problems(path) == ["the header was changed after writing"]


def test_one_flipped_byte_never_passes(tmp_path: Path) -> None:
    """Bit rot in the stored arrays is not found by `--verify`."""
    path = tmp_path / "a.h5"
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (4, 2, 16, 16), np.uint8)
    with create_cache(path, make_header()) as file:
        fill(file, values)
    with h5py.File(path) as file:
        place = file["flow"].id.get_chunk_info(2)
    whole = bytearray(path.read_bytes())
    for offset in range(place.byte_offset, place.byte_offset + place.size, 97):
        damaged = whole.copy()
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        assert cache_problems(path)


def test_content_digest_follows_the_arrays_alone(tmp_path: Path) -> None:
    """Features would be rebuilt for an equal flow cache, or kept for another one."""
    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5", make_header(source="/x", versions={}))
    write(tmp_path / "c.h5", value=2)
    digests = [content_digest(tmp_path / f"{name}.h5") for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_check_folder_counts_and_never_rebuilds_unasked(tmp_path: Path) -> None:
    """Stale caches are kept or replaced in silence, or the line does not say what differs."""
    wanted = {f"{name}.mp4": make_header() for name in "abcd"}
    for name in "abc":
        write(cache_path(tmp_path, f"{name}.mp4"))
    assert check_folder(tmp_path, wanted) == ["d.mp4"]
    asked = make_header(parameters={"flow": {"bound": 15.0}, "plan": {"stack_length": 10}})
    changed = dict.fromkeys(wanted, asked)
    with pytest.raises(
        StaleCacheError,
        match=r"3 caches used bound 20, you asked 15; pass --overwrite or another --output",
    ):
        check_folder(tmp_path, changed)
    assert check_folder(tmp_path, changed, overwrite=True) == list(wanted)


def test_changed_video_of_the_same_name_is_reported_once(tmp_path: Path) -> None:
    """New recordings under old names are scored with the old recordings' flow."""
    for number in range(5):
        write(cache_path(tmp_path, f"{number}.mp4"))
    wanted = {f"{n}.mp4": make_header(source_digest=f"{n}" * 64) for n in range(5)}
    with pytest.raises(StaleCacheError, match="5 caches were made from a video of the same name"):
        check_folder(tmp_path, wanted)


def test_keys_and_paths_are_inverse_and_do_not_collide(tmp_path: Path) -> None:
    """Videos of equal base names overwrite each other's cache."""
    keys = ["a.mp4", "a.avi", "x/a.mp4", "frames"]
    for key in keys:
        write(cache_path(tmp_path, key))
    assert sorted(find_caches(tmp_path, "flow")) == sorted(keys)
    assert [key_of(tmp_path, cache_path(tmp_path, key)) for key in keys] == keys


def test_find_caches_tells_kinds_apart_and_keeps_damaged_files(tmp_path: Path) -> None:
    """A damaged cache vanishes from a training set, or flow is trained on as features."""
    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5", make_header(kind="features"))
    (tmp_path / "c.h5").write_bytes(b"no")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    assert list(find_caches(tmp_path, "features")) == ["b", "c"]
    assert list(find_caches(tmp_path)) == ["a", "b", "c"]
    with pytest.raises(InputError, match="no such folder"):
        find_caches(tmp_path / "none", "flow")


WRITER = """
import sys, time
import numpy as np
from data.cache.folder import create_cache
from data.files import sweep
from data.cache.header import Header
with create_cache(sys.argv[1], Header("flow")) as file:
    data = file.create_dataset("flow", (1000, 2, 8, 8), "u1", chunks=(1, 2, 8, 8))
    print("open", flush=True)
    for row in range(1000):
        data[row] = row % 255
        time.sleep(.01)
"""


def test_killed_writer_leaves_no_cache_and_is_swept(tmp_path: Path) -> None:
    """A process killed while writing leaves a file that looks finished, or permanent litter."""
    path = tmp_path / "a.h5"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd()
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert sweep(tmp_path) == []
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    assert len(sweep(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


def test_two_writers_of_one_file_both_leave_it_whole(tmp_path: Path) -> None:
    """Two runs into one folder mix their rows in one file."""
    path = tmp_path / "a.h5"
    with create_cache(path, make_header()) as first:
        write(path, value=2)
        fill(first, np.full((1, 2, 1, 1), 3, np.uint8))
    assert cache_problems(path) == []
    with h5py.File(path) as file:
        assert file["flow"][0, 0, 0, 0] == 3

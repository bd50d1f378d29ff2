"""The schema check: a cache that no stage writes is refused when it is opened, with its path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.cache.features import open_features
from data.cache.flow import open_flow
from data.errors import CacheError
from pipeline.runs.features import find_feature_set
from tests.helpers.inspected import write_features, write_flow


def replaced(name: str, values: object, **options: object) -> Callable[[h5py.File, Path], None]:
    """Return a change that puts another dataset in place of one."""

    def change(file: h5py.File, folder: Path) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=values, **options)
        file[name].attrs.update(attributes)

    return change


def endless(file: h5py.File, folder: Path) -> None:
    """Claim 4·10⁹ rows, of which none is stored."""
    for name, shape in (("maps", (4, 2, 2)), ("frame_index", ()), ("time", ())):
        kind = file[name].dtype
        del file[name]
        file.create_dataset(name, (4_000_000_000, *shape), kind, chunks=(1000, *shape))


def virtual(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "other.h5", "w") as other:
        other["maps"] = np.zeros((2, 4, 2, 2), np.float16)
    layout = h5py.VirtualLayout((2, 4, 2, 2), np.float16)
    layout[:] = h5py.VirtualSource(folder / "other.h5", "maps", (2, 4, 2, 2))
    del file["maps"]
    file.create_virtual_dataset("maps", layout)


def external(file: h5py.File, folder: Path) -> None:
    (folder / "raw").write_bytes(bytes(64))
    del file["maps"]
    place = [(str(folder / "raw"), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("maps", (2, 4, 2, 2), np.float16, external=place)


def linked(file: h5py.File, folder: Path) -> None:
    virtual(file, folder)
    del file["maps"]
    file["maps"] = h5py.ExternalLink(folder / "other.h5", "maps")


def soft(file: h5py.File, folder: Path) -> None:
    file.move("maps", "elsewhere")
    file["maps"] = h5py.SoftLink("/elsewhere")


def group(file: h5py.File, folder: Path) -> None:
    del file["maps"]
    file.create_group("maps")


MAPS = np.ones((2, 4, 2, 2))
FEATURES = {
    "int64": (replaced("maps", MAPS.astype(np.int64)), "maps holds int64, expected float16"),
    "complex": (replaced("maps", MAPS.astype(complex)), "maps holds complex128"),
    "text": (replaced("maps", np.full((2, 4, 2, 2), b"a")), r"maps holds \|S1"),
    "rank": (replaced("maps", np.ones((2, 4), np.float16)), "expected 4 axes"),
    "scalar": (replaced("time", 0.5), "expected 1 axes"),
    "empty maps": (replaced("maps", np.ones((2, 0, 2, 2), np.float16)), "without values"),
    "rows": (replaced("time", np.arange(3.0)), "has 3 rows, maps has 2"),
    "times": (replaced("time", np.array([0, np.nan])), "times that are not finite"),
    "negative": (replaced("frame_index", np.array([-1, 4])), "names frames -1 to 4 of 6"),
    "beyond": (replaced("frame_index", np.array([1, 6])), "names frames 1 to 6 of 6"),
    "endless": (endless, "claims 4,000,000,000 rows"),
    "virtual": (virtual, "the values of maps are in other files"),
    "external": (external, "the values of maps are in other files"),
    "linked": (linked, "maps is a link to somewhere else"),
    "soft": (soft, "maps is a link to somewhere else"),
    "group": (group, "maps is no array"),
    "missing": (lambda file, folder: file.__delitem__("maps"), "maps is missing"),
    "one stream": (
        lambda file, folder: file.create_dataset("streams/rgb", data=MAPS.astype(np.float16)),
        "streams/flow is missing",
    ),
    "weights": (
        lambda file, folder: file.attrs.__setitem__("weights", "[1]"),
        "header is damaged .weights is",
    ),
    "options": (
        lambda file, folder: file.attrs.__setitem__("parameters", "null"),
        "header is damaged .parameters is",
    ),
}


@pytest.mark.parametrize("change", FEATURES)
def test_feature_caches_that_no_stage_writes(tmp_path: Path, change: str) -> None:
    """Rankers were trained on such caches without a word, or ended with an unexpected error."""
    path = write_features(tmp_path / "a.avi.h5", "0" * 64)
    alter, message = FEATURES[change]
    with h5py.File(path, "r+") as file:
        alter(file, tmp_path)
    with pytest.raises(CacheError, match=f"{path}: .*{message}") as caught, open_features(path):
        pass
    assert "\n" not in str(caught.value)


FLOW = {
    "int16": (replaced("flow", np.ones((2, 2, 12, 16), np.int16)), "expected uint8 or float16"),
    "one channel": (replaced("flow", np.ones((2, 1, 12, 16), np.uint8)), r"expected \(P, 2, H, W"),
    "next": (replaced("next_index", np.array([1, 99])), "next_index names frames 1 to 99 of 6"),
    "times": (replaced("frame_time", np.array([0, np.inf, 1])), "frame_time holds times"),
    "scale": (lambda file, _: file["flow"].attrs.__setitem__("scale", np.nan), "scale nan"),
    "no scale": (lambda file, _: file["flow"].attrs.__delitem__("scale"), "scale"),
}


@pytest.mark.parametrize("change", FLOW)
def test_flow_caches_that_no_stage_writes(tmp_path: Path, change: str) -> None:
    """Features were computed from such flow."""
    path = write_flow(tmp_path / "a.avi.h5")
    alter, message = FLOW[change]
    with h5py.File(path, "r+") as file:
        alter(file, tmp_path)
    with pytest.raises(CacheError, match=f"{path}: .*{message}"), open_flow(path):
        pass


def test_maps_that_are_not_finite_are_refused_as_they_are_read(tmp_path: Path) -> None:
    """One infinity made every score of a training NaN; `inspect` still counts such values."""
    path = write_features(tmp_path / "a.avi.h5", "0" * 64)
    with h5py.File(path, "r+") as file:
        file["maps"][1, 0, 0, 0] = np.inf
    with open_features(path) as cache:
        assert cache.read(0).shape == (4, 2, 2)
        assert np.isinf(cache.read(1, check=False)).sum() == 1
        with pytest.raises(CacheError, match="maps of snippet 1 holds values that are not finite"):
            cache.read(1)


def test_the_cache_of_another_video_under_a_name_is_refused(tmp_path: Path) -> None:
    """A copy under another name was trained on without a word."""
    write_features(tmp_path / "a.mp4.h5", "0" * 64, source="C:\\films\\a.avi")
    assert find_feature_set(tmp_path, ["a.mp4"], 2).keys == ("a.mp4",)
    write_features(tmp_path / "b.mp4.h5", "0" * 64, source="/films/a.avi")
    with pytest.raises(CacheError, match="holds the features of /films/a"):
        find_feature_set(tmp_path, ["a.mp4", "b.mp4"], 2)


def test_an_attribute_of_another_type_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """One changed byte of an attribute's type crashes the process within HDF5, without a word."""
    path = write_flow(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    # Name, then the type: variable length (class 9), text (1) and its padding (0).
    place = content.index(b"kind\0\0\0\0\x19\x01") + 9
    content[place] = 0x79
    path.write_bytes(content)
    with pytest.raises(CacheError, match="kind is no single number or text"):
        open_flow(path).__enter__()


@pytest.mark.parametrize(("place", "value"), [(8, 0x31), (25, 0xFF), (31, 0xFF)])
def test_texts_of_impossible_sizes_are_refused_before_they_are_read(
    tmp_path: Path, place: int, value: int
) -> None:
    """HDF5 looks for the next text for ever, and answers neither Ctrl-C nor SIGTERM."""
    path = write_flow(tmp_path / "a.h5")
    content = bytearray(path.read_bytes())
    # The size of the collection, and that of its first text.
    content[content.index(b"GCOL") + place] = value
    path.write_bytes(content)
    with pytest.raises(CacheError, match=r"impossible length|collection of texts is damaged"):
        open_flow(path).__enter__()

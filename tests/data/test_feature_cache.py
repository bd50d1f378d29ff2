"""Feature caches: every snippet's maps come back, and nothing unusable is stored."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.cache import features as feature_cache
from data.cache.header import Header
from data.errors import CacheError

RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(3, 5, 2, 2)).astype(np.float32)
STREAMS = RNG.normal(size=(2, 3, 8, 4, 4)).astype(np.float32)


def write(
    path: Path,
    streams: bool = False,
    rows: tuple[int, ...] = (2, 0, 1),
    maps: np.ndarray = MAPS,
) -> None:
    with feature_cache.create_features(
        path,
        Header("features"),
        frame_index=np.array([4, 9, 14]),
        time=np.array([0.1, 0.2, 0.35]),
        map_shape=(5, 2, 2),
        stream_shape=(8, 4, 4) if streams else None,
    ) as writer:
        for row in rows:
            if streams:
                writer.put(row, maps[row], STREAMS[0, row], STREAMS[1, row])
            else:
                writer.put(row, maps[row])


@pytest.mark.parametrize("streams", [False, True])
def test_layout_is_the_published_one(tmp_path: Path, streams: bool) -> None:
    """Another program that follows the documented layout cannot read the maps."""
    write(tmp_path / "a.h5", streams)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["maps"].dtype == np.float16
        assert file["maps"].chunks == (1, 5, 2, 2)
        np.testing.assert_array_equal(file["maps"][()], MAPS.astype(np.float16))
        assert file["frame_index"][()].tolist() == [4, 9, 14]
        assert file["time"][()].tolist() == [0.1, 0.2, 0.35]
        assert ("streams" in file) is streams
        if streams:
            np.testing.assert_array_equal(file["streams/rgb"][()], STREAMS[0].astype(np.float16))
            np.testing.assert_array_equal(file["streams/flow"][()], STREAMS[1].astype(np.float16))


def test_reading_rows_in_any_order(tmp_path: Path) -> None:
    """Snippets are given in another order than their frames."""
    write(tmp_path / "a.h5", streams=True)
    with feature_cache.open_features(tmp_path / "a.h5") as opened:
        assert (len(opened), opened.shape, opened.stream_shape) == (3, (3, 5, 2, 2), (3, 8, 4, 4))
        assert opened.frame_index.tolist() == [4, 9, 14]
        np.testing.assert_array_equal(
            [opened.read(row) for row in range(3)], MAPS.astype(np.float16)
        )
        np.testing.assert_array_equal(opened.read(1), MAPS[1].astype(np.float16))
        np.testing.assert_array_equal(
            opened.read_stream("flow", 2), STREAMS[1, 2].astype(np.float16)
        )


def test_absent_streams_say_how_to_make_them(tmp_path: Path) -> None:
    """fit-fusion on fused maps alone ends in a KeyError."""
    write(tmp_path / "a.h5")
    with feature_cache.open_features(tmp_path / "a.h5") as opened:
        assert not opened.has_streams
        with pytest.raises(CacheError, match="--keep-streams"):
            opened.read_stream("rgb", 0)


def test_missing_snippet_or_stream_leaves_no_file(tmp_path: Path) -> None:
    """A snippet that was never computed is trained on as zeros."""
    with pytest.raises(CacheError, match="1 snippets were never written"):
        write(tmp_path / "a.h5", rows=(0, 2))
    with pytest.raises(ValueError, match="rgb stream's map is missing"):
        create_without_streams(tmp_path / "a.h5")
    assert os.listdir(tmp_path) == []


def create_without_streams(path: Path) -> None:
    header = Header("features")
    with feature_cache.create_features(
        path, header, np.arange(3), np.arange(3.0), (5, 2, 2), (8, 4, 4)
    ) as writer:
        writer.put(0, MAPS[0])


@pytest.mark.parametrize("value", [1e5, np.nan, np.inf])
def test_values_beyond_float16_are_refused(tmp_path: Path, value: float) -> None:
    """Uncalibrated trunks reach 2e5: infinities in a cache spoil training days later."""
    maps = MAPS.copy()
    maps[1, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"snippet 1.*float16"):
        write(tmp_path / "a.h5", maps=maps)
    assert os.listdir(tmp_path) == []

"""Feature caches into one tensor: what is read, told and refused."""

from __future__ import annotations

import numpy as np
import pytest

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.errors import CacheError, InputError, StaleCacheError
from pipeline.runs.features import find_feature_set
from pipeline.runs.maps import free_memory, read_maps

SHAPE = (3, 2, 4)


def write_cache(folder, key, snippets=6, *, weights="w", shape=SHAPE, streams=False, bound=20):
    """Write a small cache whose maps are known, one frame in five a snippet; return its maps."""
    rng = np.random.default_rng(len(key) + ord(key[0]))
    maps = rng.normal(size=(snippets, *shape)).astype(np.float16)
    header = Header(
        "features",
        source_digest=key,
        decoded_frames=5 * snippets,
        parameters={"bound": bound},
        upstream=key,
        weights={"rgb": weights},
    )
    frames = np.arange(snippets) * 5
    kept = (2, 4, 4) if streams else None
    with create_features(cache_path(folder, key), header, frames, frames / 25, shape, kept) as out:
        for row, each in enumerate(maps):
            pair = [np.full(kept, row), np.full(kept, -row)] if kept else []
            out.put(row, each, *pair)
    return maps


def load(folder, keys, *, streams=False, snippet_stride=1, **limits):
    found = find_feature_set(folder, keys, 3, streams=streams, snippet_stride=snippet_stride)
    return read_maps(found, **limits)


def test_maps_rows_and_segments_are_the_caches_own(tmp_path):
    """Fails if maps are mixed up between videos or snippets, or put in wrong segments."""
    first, second = write_cache(tmp_path, "a.mp4", 6), write_cache(tmp_path, "sub/b.mp4", 4)
    videos = load(tmp_path, ["sub/b.mp4", "a.mp4"])
    assert videos.keys == ("sub/b.mp4", "a.mp4")
    assert videos.start.tolist() == [0, 4, 10]
    np.testing.assert_array_equal(videos.maps.numpy(), np.concatenate([second, first]))
    assert videos.segment.tolist() == [0, 0, 1, 2, 0, 0, 1, 1, 2, 2]
    gathered = videos.gather(videos.start[None, :1])
    np.testing.assert_array_equal(gathered[0, 0].numpy(), second[0].astype(np.float32))


def test_maps_that_do_not_fit_are_mapped_from_a_nameless_file(tmp_path):
    """Fails if the mapped file holds other values, or stays behind."""
    write_cache(tmp_path / "features", "a.mp4")
    scratch = tmp_path / "run"
    kept = load(tmp_path / "features", ["a.mp4"])
    mapped = load(tmp_path / "features", ["a.mp4"], memory_limit=10, scratch=scratch)
    np.testing.assert_array_equal(mapped.maps.numpy(), kept.maps.numpy())
    np.testing.assert_array_equal(
        mapped.gather(mapped.start[None, :1]).numpy(), kept.gather(kept.start[None, :1]).numpy()
    )
    assert list(scratch.iterdir()) == []


def test_memory_is_told_and_refused_without_a_scratch_folder(tmp_path):
    """Fails if maps larger than the memory are read until the machine stops."""
    write_cache(tmp_path, "a.mp4")
    found = find_feature_set(tmp_path, ["a.mp4"], 3)
    assert (found.snippets, found.bytes) == (6, 6 * 3 * 2 * 4 * 2)
    with pytest.raises(InputError, match="6 snippets of 1 videos take 288 B, 10 B may be used"):
        load(tmp_path, ["a.mp4"], memory_limit=10)
    assert free_memory() is None or free_memory() > 0


def test_snippet_stride_keeps_snippets_apart(tmp_path):
    """Fails if a preset's stride picks snippets closer than asked, or rows lose their frames."""
    maps = write_cache(tmp_path, "a.mp4", 6)
    found = find_feature_set(tmp_path, ["a.mp4"], 3, snippet_stride=10)
    assert found.frame_index[0].tolist() == [0, 10, 20]
    videos = load(tmp_path, ["a.mp4"], snippet_stride=10)
    np.testing.assert_array_equal(videos.maps.numpy(), maps[::2])


def test_stream_maps_come_together_rgb_first(tmp_path):
    """Fails if video_lstm would see flow as RGB."""
    write_cache(tmp_path, "a.mp4", 3, streams=True)
    videos = load(tmp_path, ["a.mp4"], streams=True)
    assert videos.maps.shape == (3, 4, 4, 4)
    assert videos.maps[2, :, 0, 0].tolist() == [2, 2, -2, -2]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights": "other"}, "rgb weights"),
        ({"bound": 15}, "used bound 15, the first one 20"),
        ({"shape": (3, 2, 2)}, r"holds maps of \(3, 2, 2\)"),
    ],
)
def test_mixed_caches_are_refused(tmp_path, change, told):
    """Fails if features of different making are trained on together."""
    write_cache(tmp_path, "a.mp4")
    write_cache(tmp_path, "b.mp4", **change)
    with pytest.raises(StaleCacheError, match=told):
        find_feature_set(tmp_path, ["a.mp4", "b.mp4"], 3)


def test_missing_caches_and_streams_are_named(tmp_path):
    """Fails if the user is not told which file is missing, or what makes stream maps."""
    write_cache(tmp_path, "a.mp4")
    with pytest.raises(CacheError, match=r"b\.mp4\.h5: no such cache"):
        find_feature_set(tmp_path, ["a.mp4", "b.mp4"], 3)
    with pytest.raises(CacheError, match="--keep-streams"):
        find_feature_set(tmp_path, ["a.mp4"], 3, streams=True)
    with pytest.raises(InputError, match="no videos"):
        find_feature_set(tmp_path, [], 3)

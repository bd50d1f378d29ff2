"""The feature caches of many videos as one tensor, read once; told beforehand what it will take."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import CacheError, InputError, StaleCacheError
from pipeline.shell.console import log, progress
from pipeline.shell.words import format_bytes

if TYPE_CHECKING:
    from data.cache.features import FeatureCache
    from data.cache.header import Header
    from model.ranker.videos import VideoMaps

# Share of the memory now free that the maps may fill; the rest is for training.
MEMORY_SHARE = 0.6


@dataclass(frozen=True)
class FeatureSet:
    """What is known of a set of feature caches before any map is read.

    Attributes
    ----------
    keys : tuple of str
        Videos, sorted as given.
    paths : tuple of Path
        Their caches.
    rows : tuple of ndarray
        For each video the snippets that are used, in time order.
    frame_index : tuple of ndarray
        The frames of these snippets in their videos.
    segment : tuple of ndarray
        The segments that they lie in.
    shape : tuple (C, H, W)
        Of one snippet's map; with streams both trunks' maps together along C.
    streams : bool
        Whether these are stream maps.
    header : Header
        Of the first cache; parameters and weights are those of all of them.
    digests : tuple of str
        Content digest of each cache.
    parts : mapping of str to (int, int)
        First frame, and the one after the last, of the videos of which only a part is used.
    """

    keys: tuple[str, ...]
    paths: tuple[Path, ...]
    rows: tuple[np.ndarray, ...]
    frame_index: tuple[np.ndarray, ...]
    segment: tuple[np.ndarray, ...]
    shape: tuple[int, int, int]
    streams: bool
    header: Header
    digests: tuple[str, ...]
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def snippets(self) -> int:
        """Number of snippets of all videos."""
        return sum(len(rows) for rows in self.rows)

    @property
    def bytes(self) -> int:
        """Size of all maps in memory, float16."""
        return self.snippets * int(np.prod(self.shape)) * 2


def find_feature_set(
    folder: str | Path,
    keys: Sequence[str],
    segments: int,
    *,
    streams: bool = False,
    snippet_stride: int = 1,
) -> FeatureSet:
    """Look at the caches of some videos without reading maps.

    Parameters
    ----------
    folder : path
        Output of extract-features.
    keys : sequence of str
        Videos.
    segments : int
        N: each whole video is divided into so many equal spans by frame number.
    streams : bool
        Take the two trunks' maps in place of the fused ones.
    snippet_stride : int
        Leave out snippets less than so many frames after the one before.

    Raises
    ------
    CacheError
        A cache is missing or damaged, or has no stream maps where they are wanted.
    StaleCacheError
        The caches were not all made with the same options and weights.
    """
    from data.cache.features import open_features
    from data.cache.folder import cache_path, content_digest
    from data.sampling import segment_of

    if not keys:
        raise InputError(f"{folder}: no videos to read")
    paths = tuple(cache_path(folder, key) for key in keys)
    rows, frames, numbers = [], [], []
    first: tuple[Header, tuple[int, int, int]] | None = None
    for path in paths:
        with open_features(path) as cache:
            shape = _map_shape(cache, streams)
            first = first or (cache.header, shape)
            _check_alike(path, cache.header, shape, *first)
            rows.append(_thinned(cache.frame_index, snippet_stride))
            frames.append(cache.frame_index[rows[-1]])
            numbers.append(segment_of(frames[-1], cache.header.decoded_frames, segments))
    if first is None:
        raise InputError(f"{folder}: no videos to read")
    return FeatureSet(
        tuple(keys),
        paths,
        tuple(rows),
        tuple(frames),
        tuple(numbers),
        first[1],
        streams,
        first[0],
        tuple(content_digest(path) for path in paths),
    )


def load_feature_set(
    folder: str | Path,
    keys: Sequence[str],
    segments: int,
    *,
    streams: bool = False,
    snippet_stride: int = 1,
    memory_limit: int | None = None,
    scratch: Path | None = None,
) -> VideoMaps:
    """Read the maps of some videos into one tensor; `find_feature_set` and `read_maps` in one.

    Parameters and errors as there.
    """
    found = find_feature_set(folder, keys, segments, streams=streams, snippet_stride=snippet_stride)
    return read_maps(found, memory_limit=memory_limit, scratch=scratch)


def read_maps(
    found: FeatureSet, *, memory_limit: int | None = None, scratch: Path | None = None
) -> VideoMaps:
    """Read each cache once into one float16 tensor, channels last in memory.

    Parameters
    ----------
    found : FeatureSet
        From `find_feature_set`.
    memory_limit : int, optional
        Bytes the maps may take; by default a share of the memory now free.
    scratch : path, optional
        Folder for a file of the maps, mapped into memory, where they would not fit. The file has
        no name, so that nothing is left of it whatever happens.

    Raises
    ------
    InputError
        The maps do not fit into memory, and no scratch folder was given.
    """
    import torch

    from data.cache.features import open_features
    from model.ranker.videos import VideoMaps

    maps = _allocate(found, memory_limit, scratch)
    row = 0
    paths = zip(found.paths, found.rows, strict=True)
    for path, rows in progress(paths, total=len(found.paths), desc="read features", unit="video"):
        with open_features(path) as cache:
            for snippet in rows.tolist():
                maps[row] = _one_map(cache, snippet, found.streams).transpose(1, 2, 0)
                row += 1
    counts = [0, *(len(rows) for rows in found.rows)]
    return VideoMaps(
        torch.from_numpy(maps).permute(0, 3, 1, 2),
        torch.from_numpy(np.cumsum(counts)),
        torch.from_numpy(np.concatenate(found.segment)),
        found.keys,
    )


def free_memory() -> int | None:
    """Return how many bytes of memory are free for use; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _allocate(found: FeatureSet, limit: int | None, scratch: Path | None) -> np.ndarray:
    """Return room for all maps, (ΣS, H, W, C) float16: in memory, or in a mapped file."""
    channels, height, width = found.shape
    shape = (found.snippets, height, width, channels)
    if limit is None:
        free = free_memory()
        limit = found.bytes if free is None else int(MEMORY_SHARE * free)
    about = f"{found.snippets} snippets of {len(found.keys)} videos"
    if found.bytes <= limit:
        log.info("%s: %s of memory for their maps", about, format_bytes(found.bytes))
        return np.empty(shape, np.float16)
    need = f"{about} take {format_bytes(found.bytes)}, {format_bytes(limit)} may be used"
    if scratch is None:
        raise InputError(f"{need}: use fewer videos or snippets (--snippet-stride)")
    log.info("%s: the maps are read from a mapped file in %s", need, scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, np.float16, "w+", shape=shape)


def _map_shape(cache: FeatureCache, streams: bool) -> tuple[int, int, int]:
    if not streams:
        return cache.shape[1:]
    if cache.stream_shape is None:
        raise CacheError(
            f"{cache.path}: holds fused maps only, the stream maps are needed; run "
            "extract-features with --keep-streams into another folder"
        )
    _, channels, height, width = cache.stream_shape
    return 2 * channels, height, width


def _one_map(cache: FeatureCache, row: int, streams: bool) -> np.ndarray:
    if not streams:
        return cache.read(row)
    return np.concatenate([cache.read_stream("rgb", row), cache.read_stream("flow", row)])


def _check_alike(
    path: Path,
    found: Header,
    found_shape: tuple[int, int, int],
    wanted: Header,
    wanted_shape: tuple[int, int, int],
) -> None:
    """Refuse a cache of other options, weights or shape than the first one's."""
    from data.cache.header import header_differences

    alike = replace(wanted, source_digest=found.source_digest, upstream=found.upstream)
    differences = header_differences(found, alike)
    if not differences and found_shape != wanted_shape:
        differences = [f"holds maps of {found_shape}, the first one's are {wanted_shape}"]
    if differences:
        told = "; ".join(differences[:3]).replace("you asked", "the first one")
        raise StaleCacheError(
            f"{path}: not made like the other caches: it {told}; run extract-features again with "
            "--overwrite, or keep different features in different folders"
        )


def _thinned(frame_index: np.ndarray, stride: int) -> np.ndarray:
    """Return the rows left when snippets closer than `stride` frames to the last are dropped."""
    if stride <= 1:
        return np.arange(len(frame_index))
    kept: list[int] = []
    for row, frame in enumerate(frame_index.tolist()):
        if not kept or frame - frame_index[kept[-1]] >= stride:
            kept.append(row)
    return np.array(kept, dtype=np.int64)

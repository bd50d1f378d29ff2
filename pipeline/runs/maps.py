"""The feature caches of many videos: checked, their snippets chosen, their maps read at once."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.cache.features import FeatureCache, open_features
from data.cache.folder import cache_path, content_digest
from data.cache.header import Header, header_differences
from data.errors import CacheError, InputError, StaleCacheError
from data.judgements.dataset import Span
from data.judgements.pairs import Pair
from data.sampling import segment_of
from pipeline.runs.judgements import judged_part
from pipeline.shell.console import log, progress
from pipeline.shell.words import format_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from model.ranker.videos import VideoMaps

# Share of the free memory that the maps may fill; the rest is for training.
MEMORY_SHARE = 0.6


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """What is known of some videos' feature caches before any map is read.

    Attributes
    ----------
    keys : tuple of str
        Videos, in the given order.
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

    @property
    def start(self) -> np.ndarray:
        """Where each video's snippets begin when all are counted in one row, and the end."""
        return np.cumsum([0, *(len(rows) for rows in self.rows)])


def find_feature_set(
    folder: str | Path,
    keys: Sequence[str],
    segments: int,
    *,
    streams: bool = False,
    snippet_stride: int = 1,
    spans: Mapping[str, Span] | None = None,
) -> FeatureSet:
    """Look at the caches of some videos without reading maps.

    Parameters
    ----------
    folder : path
        Output of extract-features.
    keys : sequence of str
        Videos.
    segments : int
        N: each video, or its judged part, is divided into so many equal spans by frame number.
    streams : bool
        Take the two trunks' maps in place of the fused ones.
    snippet_stride : int
        Leave out snippets less than so many frames after the one before.
    spans : mapping of str to Span, optional
        Judged parts of videos: the snippets before and after are left out.

    Raises
    ------
    CacheError
        A cache is missing or damaged, or has no stream maps where these are needed.
    StaleCacheError
        The caches were not all made with the same options and weights.
    InputError
        There are no videos, or a judged part contains no snippet.
    """
    if not keys:
        raise InputError(f"{folder}: no videos to read")
    paths = tuple(cache_path(folder, key) for key in keys)
    with open_features(paths[0]) as cache:
        header, shape = cache.header, _map_shape(cache, streams)
    snippets = []
    for key, path in zip(keys, paths, strict=True):
        with open_features(path) as cache:
            _check_alike(cache, _map_shape(cache, streams), header, shape)
            snippets.append(_choose(cache, segments, snippet_stride, (spans or {}).get(key)))
    return FeatureSet(
        keys=tuple(keys),
        paths=paths,
        rows=tuple(each.rows for each in snippets),
        frame_index=tuple(each.frames for each in snippets),
        segment=tuple(each.segment for each in snippets),
        shape=shape,
        streams=streams,
        header=header,
        digests=tuple(content_digest(path) for path in paths),
        parts={key: each.part for key, each in zip(keys, snippets, strict=True) if each.part},
    )


@dataclass(frozen=True, kw_only=True)
class _Snippets:
    """The snippets of one video that are used."""

    rows: np.ndarray
    frames: np.ndarray
    segment: np.ndarray
    part: tuple[int, int] | None


def _choose(cache: FeatureCache, segments: int, stride: int, span: Span | None) -> _Snippets:
    """Choose the snippets of the judged part, at least `stride` frames apart."""
    rows = _thinned(cache.frame_index, stride)
    frames = cache.frame_index[rows]
    part = judged_part(cache, span) if span else None
    first, end = part or (0, cache.header.decoded_frames)
    if part:
        inside = (frames >= first) & (frames < end)
        if not inside.any():
            raise InputError(
                f"{cache.path}: no snippet lies in the judged part, frames {first} to {end - 1}; "
                "run extract-features with more snippets (--plan dense)"
            )
        rows, frames = rows[inside], frames[inside]
    segment = segment_of(frames - first, end - first, segments)
    return _Snippets(rows=rows, frames=frames, segment=segment, part=part)


def _thinned(frame_index: np.ndarray, stride: int) -> np.ndarray:
    """Return the rows left when snippets closer than `stride` frames to the last are dropped."""
    if stride <= 1:
        return np.arange(len(frame_index))
    kept: list[int] = []
    for row, frame in enumerate(frame_index.tolist()):
        if not kept or frame - frame_index[kept[-1]] >= stride:
            kept.append(row)
    return np.array(kept, dtype=np.int64)


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


def _check_alike(
    cache: FeatureCache,
    shape: tuple[int, int, int],
    first: Header,
    first_shape: tuple[int, int, int],
) -> None:
    """Refuse a cache of other options, weights or shape than the first one's."""
    header = cache.header
    alike = replace(first, source_digest=header.source_digest, upstream=header.upstream)
    differences = header_differences(header, alike)
    if not differences and shape != first_shape:
        differences = [f"holds maps of {shape}, the first one's are {first_shape}"]
    if differences:
        changes = "; ".join(differences[:3]).replace("you asked", "the first one")
        raise StaleCacheError(
            f"{cache.path}: not made like the other caches: it {changes}; run extract-features "
            "again with --overwrite, or keep different features in different folders"
        )


def warn_of_repeats(features: FeatureSet, segments: int) -> None:
    """Report videos with fewer snippets than segments, where some are used repeatedly."""
    counts = [len(rows) for rows in features.rows]
    few = sum(count < segments for count in counts)
    if few:
        log.warning(
            "%d of %d videos have fewer snippets (%d at least) than %d segments: empty segments "
            "take the nearest one; see --segments",
            few,
            len(counts),
            min(counts),
            segments,
        )


def read_maps(
    features: FeatureSet,
    *,
    memory_limit: int | None = None,
    workers: int = 1,
    scratch: Path | None = None,
) -> VideoMaps:
    """Read each cache once into one float16 tensor, channels last in memory.

    Parameters
    ----------
    features : FeatureSet
        From `find_feature_set`.
    memory_limit : int, optional
        Bytes the maps may take; by default a share of the free memory.
    workers : int
        Processes that divide this share, each with maps of its own.
    scratch : path, optional
        Folder for a file of the maps, mapped into memory, where they would not fit. The file has
        no name, so that nothing of it remains.

    Raises
    ------
    InputError
        The maps do not fit into memory, and no scratch folder was given.
    """
    import torch

    from model.ranker.videos import VideoMaps

    if memory_limit is None:
        free = free_memory()
        memory_limit = features.bytes if free is None else int(MEMORY_SHARE * free / workers)
    maps = _allocate(features, memory_limit, scratch)
    row = 0
    videos = zip(features.paths, features.rows, strict=True)
    for path, rows in progress(
        videos, total=len(features.paths), desc="read features", unit="video"
    ):
        with open_features(path) as cache:
            for snippet in rows.tolist():
                maps[row] = _one_map(cache, snippet, features.streams).transpose(1, 2, 0)
                row += 1
    return VideoMaps(
        torch.from_numpy(maps).permute(0, 3, 1, 2),
        torch.from_numpy(features.start),
        torch.from_numpy(np.concatenate(features.segment)),
        features.keys,
    )


def _one_map(cache: FeatureCache, row: int, streams: bool) -> np.ndarray:
    if not streams:
        return cache.read(row)
    return np.concatenate([cache.read_stream("rgb", row), cache.read_stream("flow", row)])


def free_memory() -> int | None:
    """Return how many bytes of memory are free for use; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _allocate(features: FeatureSet, limit: int, scratch: Path | None) -> np.ndarray:
    """Return room for all maps, (ΣS, H, W, C) float16: in memory, or in a mapped file."""
    channels, height, width = features.shape
    shape = (features.snippets, height, width, channels)
    about = f"{features.snippets} snippets of {len(features.keys)} videos"
    if features.bytes <= limit:
        log.info("%s: %s of memory for their maps", about, format_bytes(features.bytes))
        return np.empty(shape, np.float16)
    need = f"{about} take {format_bytes(features.bytes)}, {format_bytes(limit)} may be used"
    if scratch is None:
        raise InputError(f"{need}: use fewer videos or snippets (--snippet-stride)")
    log.info("%s: the maps are read from a mapped file in %s", need, scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, np.float16, "w+", shape=shape)


def pair_rows(pairs: Sequence[Pair], keys: Sequence[str]) -> Tensor:
    """Return pairs as rows (better, worse) of `keys`, (P, 2) int64."""
    import torch

    row = {key: number for number, key in enumerate(keys)}
    return torch.tensor([(row[pair.better], row[pair.worse]) for pair in pairs])

"""The feature caches of many videos: checked, and their snippets chosen, before maps are read."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from data.cache.features import FeatureCache, open_features
from data.cache.folder import cache_path, content_digest
from data.cache.header import Header, header_differences
from data.errors import CacheError, InputError, StaleCacheError
from data.judgements.dataset import Span
from data.sampling import segment_of
from data.tables import one_form
from pipeline.runs.judgements import judged_part
from pipeline.shell.console import log


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
    sources : tuple of str
        Digest of the video behind each cache; "" where it is not known.
    parts : mapping of str to (int, int)
        First frame, and the one after the last, of the videos of which only a part is used.
    seconds : tuple of float
        Duration of each video, or of its judged part.
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
    sources: tuple[str, ...]
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    seconds: tuple[float, ...] = ()

    @property
    def snippets(self) -> int:
        """Number of snippets of all videos."""
        return sum(len(rows) for rows in self.rows)

    @property
    def bytes(self) -> int:
        """Size of all maps in memory, float16."""
        return self.snippets * int(np.prod(self.shape)) * 2

    @property
    def same(self) -> dict[str, str]:
        """One label for each video that has several keys."""
        known = dict(zip(self.keys, self.sources, strict=True))
        counts = Counter(self.sources)
        return {key: digest for key, digest in known.items() if digest and counts[digest] > 1}

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
    snippets, sources = [], []
    for key, path in zip(keys, paths, strict=True):
        with open_features(path) as cache:
            _check_name(cache, key)
            _check_alike(cache, _map_shape(cache, streams), header, shape)
            sources.append(cache.header.source_digest)
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
        sources=tuple(sources),
        parts={key: each.part for key, each in zip(keys, snippets, strict=True) if each.part},
        seconds=tuple(each.seconds for each in snippets),
    )


def duration(cache: FeatureCache, part: tuple[int, int] | None) -> float:
    """Return the length of a video, or of a part of its frames, in seconds.

    Where there are no time stamps it is the number of frames.
    """
    frames = cache.header.decoded_frames if part is None else part[1] - part[0]
    last = int(cache.frame_index[-1])
    if last <= 0 or cache.time[-1] <= 0:
        return float(frames)
    return float(frames * cache.time[-1] / last)


@dataclass(frozen=True, kw_only=True)
class _Snippets:
    """The snippets of one video that are used."""

    rows: np.ndarray
    frames: np.ndarray
    segment: np.ndarray
    part: tuple[int, int] | None
    seconds: float


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
    seconds = duration(cache, part)
    return _Snippets(rows=rows, frames=frames, segment=segment, part=part, seconds=seconds)


def _thinned(frame_index: np.ndarray, stride: int) -> np.ndarray:
    """Return the rows left when snippets closer than `stride` frames to the last are dropped."""
    if stride <= 1:
        return np.arange(len(frame_index))
    chosen: list[int] = []
    for row, frame in enumerate(frame_index.tolist()):
        if not chosen or frame - frame_index[chosen[-1]] >= stride:
            chosen.append(row)
    return np.array(chosen, dtype=np.int64)


def _map_shape(cache: FeatureCache, streams: bool) -> tuple[int, int, int]:
    if not streams:
        return cache.shape[1:]
    if cache.stream_shape is None:
        remedy = (
            "imported features have none, so neither video_lstm nor fit-fusion takes them"
            if cache.header.imported
            else "run extract-features with --keep-streams into another folder"
        )
        raise CacheError(
            f"{cache.path}: holds fused maps only, the stream maps are needed; {remedy}"
        )
    _, channels, height, width = cache.stream_shape
    return 2 * channels, height, width


def _check_name(cache: FeatureCache, key: str) -> None:
    """Refuse the cache of another video, copied or renamed to this name."""
    source = cache.header.source
    if not source:
        return
    # Caches made on Windows are read elsewhere too; names differ in Unicode form between systems.
    names = [re.split(r"[/\\]", one_form(name))[-1] for name in (source, key)]
    if cache.header.imported:  # The key leaves out an ending of the array's file.
        same = names[0].startswith(names[1])
    else:
        same = os.path.splitext(names[0])[0] == os.path.splitext(names[1])[0]
    if not same:
        raise CacheError(
            f"{cache.path}: holds the features of {source}, not of {key}; delete the file and make "
            "it again, or give the video its old name in the judgements"
        )


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
        command = "import-features" if header.imported else "extract-features"
        raise StaleCacheError(
            f"{cache.path}: not made like the other caches: it {changes}; run {command} "
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

"""The maps of many videos, read at once into memory or a mapped file, and pairs as their rows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.cache.features import FeatureCache, open_features
from data.errors import InputError
from data.judgements.pairs import Pair
from pipeline.runs.features import FeatureSet
from pipeline.shell.console import log, progress
from pipeline.shell.words import format_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from model.ranker.training import Ties
    from model.ranker.videos import VideoMaps

# Share of the free memory that the maps may fill; the rest is for training.
MEMORY_SHARE = 0.6


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
        torch.tensor(features.seconds, dtype=torch.float64) if features.seconds else None,
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


def ties_to_fit(tied: Sequence[Pair], keys: Sequence[str], weight: float) -> Ties | None:
    """Return ties as `model.ranker.training.fit` takes them; None where there are none."""
    from model.ranker.training import Ties

    return Ties(pair_rows(tied, keys), weight) if tied else None


def pair_rows(pairs: Sequence[Pair], keys: Sequence[str]) -> Tensor:
    """Return pairs as rows (better, worse) of `keys`, (P, 2) int64."""
    import torch

    row = {key: number for number, key in enumerate(keys)}
    return torch.tensor([(row[pair.better], row[pair.worse]) for pair in pairs])

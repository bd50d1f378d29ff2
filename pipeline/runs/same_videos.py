"""The same video under several names: its features in training and in test would be a leak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from data.cache.folder import cache_path, read_header
from data.errors import InputError
from data.judgements.dataset import Dataset
from data.judgements.splits import Split
from pipeline.shell.console import log
from pipeline.shell.words import counted

_EXAMPLES = 3


class SameVideos:
    """Which feature caches were made from one video, by the digests in their headers.

    Parameters
    ----------
    features : Path
        Folder of the caches.
    keys : collection of str
        Their keys.
    """

    def __init__(self, features: Path, keys: Collection[str]) -> None:
        self._features = features
        self._keys = keys

    def labels(self, dataset: Dataset) -> dict[str, str]:
        """Return one label for all names of a data set that stand for the same video."""
        known = dataset.match(self._keys).keys
        names: dict[str, list[str]] = defaultdict(list)
        for name, key in known.items():
            names[self._digest(key)].append(name)
        return {
            name: digest
            for digest, several in names.items()
            if digest and len(several) > 1
            for name in several
        }

    def report(self, splits: Sequence[Split]) -> None:
        """Warn of videos with several names, and of those on both sides of a split.

        Parameters
        ----------
        splits : sequence of Split
            By cache key.
        """
        groups = self._groups({key for fold in splits for key in fold.train_videos | fold.held_out})
        if not groups:
            return
        shown = "; ".join(" = ".join(group) for group in groups[:_EXAMPLES])
        log.warning(
            "%s in the features under several names, e.g. %s: drawn folds and the "
            "validation share keep them together",
            counted(len(groups), "video is", "videos are"),
            shown,
        )
        for split in splits:
            if leaks := _leaks(split, groups):
                where = f"fold {split.name}: " if split.name else ""
                test, train = leaks[0]
                log.warning(
                    "%s%d test videos are training videos under another name, e.g. %s = %s: the "
                    "accuracy of the test is too high",
                    where,
                    len(leaks),
                    test,
                    train,
                )

    def _groups(self, keys: Iterable[str]) -> list[list[str]]:
        groups: dict[str, list[str]] = defaultdict(list)
        for key in sorted(keys):
            groups[self._digest(key)].append(key)
        return [group for digest, group in groups.items() if digest and len(group) > 1]

    def _digest(self, key: str) -> str:
        """Return the digest of a cache's video; "" where the cache is damaged, refused later."""
        try:
            return read_header(cache_path(self._features, key)).source_digest
        except InputError:
            return ""


def _leaks(split: Split, groups: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Return (test video, training video) of one content, one for each test video."""
    twins: Mapping[str, Sequence[str]] = {key: group for group in groups for key in group}
    return [
        (key, next(other for other in twins[key] if other in split.train_videos))
        for key in sorted(split.held_out)
        if key in twins and any(other in split.train_videos for other in twins[key])
    ]

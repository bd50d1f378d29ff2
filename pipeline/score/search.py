"""Features and flow of videos that are there already: in the user's folders, or kept earlier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.cache.flow import open_flow
from data.cache.folder import cache_path, content_digest, find_caches, key_of, read_header
from data.errors import CacheError, InputError
from data.sources import Source
from pipeline.extract_features.snippets import snippet_plan
from pipeline.shell.console import log

if TYPE_CHECKING:
    from data.cache.header import Header
    from pipeline.score.options import Making
    from pipeline.score.recipe import Recipe

# What may differ from training: it moves maps by rounding, not by meaning.
_PLACE = ("precision", "flow_resize")


@dataclass(frozen=True)
class Made:
    """The features of one video.

    Attributes
    ----------
    source : Source
        The video as the user named it.
    folder, key : Path, str
        Where its feature cache lies.
    flow : Path or None
        Its flow cache; None where the features were there and no flow beside them.
    header : Header
        Of the features.
    digest : str
        Of the features' content.
    """

    source: Source
    folder: Path
    key: str
    flow: Path | None
    header: Header
    digest: str


class Search:
    """Caches in the folders that the user named, by the digest of their videos."""

    def __init__(self, recipe: Recipe, making: Making) -> None:
        self._recipe = recipe
        self._features_folder = making.features
        self._features = _by_source(making.features, "features")
        self._flow = _by_source(making.flow, "flow")

    def features(self, source: Source, digest: str) -> Made | None:
        """Return the features of a video where they fit."""
        if digest not in self._features or self._features_folder is None:
            return None
        path, header = self._features[digest]
        recipe = self._recipe
        differing = [
            name
            for name, value in recipe.parameters.items()
            if not _fits(name, header.parameters.get(name), value)
        ]
        if header.weights != recipe.weights:
            differing.append("weights")
        if differing:
            log.warning(
                "%s: made with other %s than the training features; not used",
                path,
                " and ".join(name.replace("_", " ") for name in differing),
            )
            return None
        flow = self.flow(digest)
        key = key_of(self._features_folder, path)
        return Made(source, self._features_folder, key, flow, header, content_digest(path))

    def flow(self, digest: str) -> Path | None:
        """Return the flow of a video where it fits."""
        if digest not in self._flow:
            return None
        path, header = self._flow[digest]
        wanted = self._recipe.flow_parameters
        differing = [name for name in wanted if header.parameters.get(name) != wanted[name]]
        if differing:
            log.warning(
                "%s: made with other options (%s) than the training flow; not used",
                path,
                ", ".join(differing),
            )
            return None
        try:
            with open_flow(path) as opened:
                snippet_plan(opened, self._recipe.plan)
        except InputError as error:
            log.warning("%s; not used", error)
            return None
        return path


def find_kept(folder: Path, source: Source, digest: str, recipe: Recipe) -> Made | None:
    """Return the features that an earlier call has kept, and the flow where it is there too.

    The folder's name stands for all options, the key for the video's content.
    """
    path = cache_path(folder / "features", source.key)
    try:
        header = read_header(path)
    except CacheError:
        return None
    if header.weights != recipe.weights:
        return None
    flows = (cache_path(folder / name, source.key) for name in ("flow", "given"))
    flow = next((each for each in flows if _is_of(each, digest)), None)
    return Made(source, folder / "features", source.key, flow, header, content_digest(path))


def _is_of(path: Path, digest: str) -> bool:
    """Whether a cache is of the video with this digest; one that was given may be another now."""
    try:
        return read_header(path).source_digest == digest
    except CacheError:
        return False


def _fits(name: str, found: Any, wanted: Any) -> bool:
    """Whether an option of features is that of training, or leaves the maps as they are."""
    if name == "keep_streams":
        return bool(found) or not wanted
    return name in _PLACE or bool(found == wanted)


def _by_source(folder: Path | None, kind: str) -> dict[str, tuple[Path, Header]]:
    """Return the caches of a folder by the digest of their videos.

    Raises
    ------
    InputError
        There are none of this kind.
    """
    found: dict[str, tuple[Path, Header]] = {}
    if folder is None:
        return found
    caches = find_caches(folder, kind)
    if not caches:
        raise InputError(
            f"{folder}: holds no {kind} caches; --{kind} takes an output of extract-{kind}"
        )
    for path in caches.values():
        try:
            header = read_header(path)
        except CacheError as error:
            log.warning("%s; not used", error)
            continue
        found.setdefault(header.source_digest, (path, header))
    return found

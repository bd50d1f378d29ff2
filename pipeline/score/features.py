"""Features of new videos: found in the user's folders, or computed as in the training of a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.cache.flow import open_flow
from data.cache.folder import cache_path, content_digest, find_caches, read_header
from data.cache.header import Header
from data.errors import CacheError, InputError, VideoError
from data.sources import Source
from data.video.reading import file_digest
from pipeline.extract_features.command import extract_features
from pipeline.extract_features.snippets import snippet_plan
from pipeline.extract_flow.settings import FlowSettings
from pipeline.runner.files import check_writable, read_safetensors, write_safetensors
from pipeline.runner.jobs import Outcome, in_order
from pipeline.runner.stage import StageOptions
from pipeline.score.settings import NewVideoOptions, RunSettings
from pipeline.shell.console import log
from pipeline.stage_one.file import FILE_NAME

# These may differ from training: they change maps only by rounding.
_ROUNDING = ("precision", "flow_resize")


@dataclass(frozen=True, kw_only=True)
class VideoFeatures:
    """The features of one video.

    Attributes
    ----------
    source : Source
        The video as the user named it.
    path : Path
        Its feature cache.
    folder, key : Path, str
        The folder of feature caches, and the name of the video in it.
    flow : Path or None
        Its flow cache, if there is one.
    header : Header
        Of the feature cache.
    digest : str
        Of the content of the feature cache.
    """

    source: Source
    folder: Path
    key: str
    flow: Path | None
    header: Header
    digest: str

    @classmethod
    def read(
        cls, source: Source, folder: Path, key: str, flow: Path | None = None
    ) -> VideoFeatures:
        """Read the header of a feature cache; CacheError where there is none."""
        path = cache_path(folder, key)
        return cls(
            source=source,
            folder=folder,
            key=key,
            flow=flow if flow is not None and flow.is_file() else None,
            header=read_header(path),
            digest=content_digest(path),
        )


def make_features(
    sources: Sequence[Source], settings: RunSettings, options: NewVideoOptions
) -> Outcome[Source, VideoFeatures]:
    """Return the features of some videos; compute those that do not exist yet.

    Caches in the user's folders are found by the key of the video, those of earlier calls by the
    digest of the video. Caches that do not fit the settings are not used, and the log says so.

    Raises
    ------
    InputError
        A folder holds no caches of its kind, or the cache folder cannot be written to.
    """
    _check_folders(options)
    outcome: Outcome[Source, VideoFeatures] = Outcome()
    missing: list[_Place] = []
    for source in sources:
        try:
            digest = file_digest(source.path)
        except VideoError as error:
            outcome.failures.append((source, str(error)))
            continue
        flow = _given_flow(source, digest, settings, options)
        features = _given_features(source, digest, flow, settings, options)
        if features is None:
            own, given = _places(source, digest, flow, settings)
            features = own.kept(digest, settings) or given.kept(digest, settings)
        if features is not None:
            outcome.results.append((source, features))
        else:
            missing.append(own if flow is None else given)
    if missing:
        check_writable(settings.cache, "--cache")
        log.info("flow and features go to %s", settings.cache)
        settings.log_differences(options)
        failures = _compute(missing, settings, options)
        for place in missing:
            if message := failures.get(place.named):
                outcome.failures.append((place.source, message))
            else:
                outcome.results.append((place.source, place.read()))
    return in_order(outcome, sources)


def _check_folders(options: NewVideoOptions) -> None:
    """Refuse folders without caches of their kind."""
    for folder, kind in ((options.features, "features"), (options.flow, "flow")):
        if folder is not None and not find_caches(folder, kind):
            raise InputError(
                f"{folder}: holds no {kind} caches; --{kind} takes an output of extract-{kind}"
            )


@dataclass(frozen=True)
class _Place:
    """The place of a video's features in score's own cache, where they are or will be."""

    source: Source  # as the user named it
    named: Source  # under its key in the cache
    folder: Path  # of feature caches
    flow: Path | None  # its flow cache

    def read(self) -> VideoFeatures:
        """Read the header of the cache; CacheError where there is none."""
        return VideoFeatures.read(self.source, self.folder, self.named.key, self.flow)

    def kept(self, digest: str, settings: RunSettings) -> VideoFeatures | None:
        """Return the features that an earlier call kept of a video with this digest."""
        try:
            features = self.read()
        except CacheError:
            return None
        header = features.header
        fits = header.source_digest == digest and header.weights == settings.weights
        return features if fits else None


def _places(
    source: Source, digest: str, flow: Path | None, settings: RunSettings
) -> tuple[_Place, _Place]:
    """Return the places of features from flow computed here, and from the user's flow."""
    own = Source(source.path, f"{source.path.name}-{digest[:12]}")
    return (
        _Place(source, own, _own(settings), cache_path(settings.cache / "flow", own.key)),
        _Place(source, source, _given(settings), flow),
    )


def _given_features(
    source: Source,
    digest: str,
    flow: Path | None,
    settings: RunSettings,
    options: NewVideoOptions,
) -> VideoFeatures | None:
    """Return the features of a video in the user's folder, if they exist and fit."""
    if options.features is None:
        return None
    try:
        features = VideoFeatures.read(source, options.features, source.key, flow)
    except CacheError as error:
        log.warning("%s; not used", error)
        return None
    header = features.header
    different = [
        name.replace("_", " ")
        for name, value in settings.parameters.items()
        if not fits(name, header.parameters.get(name), value)
    ]
    if header.weights != settings.weights:
        different.append("weights")
    if header.source_digest != digest:
        different = ["video"]
    if different:
        log.warning(
            "%s: made with other %s than the training features; not used",
            cache_path(options.features, source.key),
            " and ".join(different),
        )
        return None
    return features


def fits(name: str, value: Any, trained: Any) -> bool:
    """Whether an option of features is that of training, or does not change the maps."""
    if name == "keep_streams":
        return bool(value) or not trained
    return name in _ROUNDING or bool(value == trained)


def _given_flow(
    source: Source, digest: str, settings: RunSettings, options: NewVideoOptions
) -> Path | None:
    """Return the flow cache of a video in the user's folder, if it exists and fits."""
    if options.flow is None:
        return None
    path, trained = cache_path(options.flow, source.key), settings.parameters["flow"]
    try:
        with open_flow(path) as cache:
            header = cache.header
            snippet_plan(cache, settings.flow.plan)
    except InputError as error:
        log.warning("%s; not used", error)
        return None
    different = [name for name in trained if header.parameters.get(name) != trained[name]]
    if header.source_digest != digest:
        log.warning("%s: made from another video than %s; not used", path, source.path)
    elif different:
        log.warning(
            "%s: made with other options (%s) than the training flow; not used",
            path,
            ", ".join(different),
        )
    else:
        return path
    return None


def _compute(
    missing: Sequence[_Place], settings: RunSettings, options: NewVideoOptions
) -> dict[Source, str]:
    """Compute missing features, and their flow if the user gave none; return the failures."""
    failures: dict[Source, str] = {}
    for folder in (_own(settings), _given(settings)):
        places = [place for place in missing if place.folder == folder]
        if not places:
            continue
        flow: FlowSettings | None = settings.flow
        features = replace(settings.features, flow=settings.cache / "flow")
        if folder == _given(settings) and options.flow is not None:
            flow, features = None, replace(features, flow=options.flow)
            for place in places:  # Another video may have had this key in an earlier call.
                cache_path(folder, place.named.key).unlink(missing_ok=True)
        _copy_stage_one(folder, settings)
        sources = list(dict.fromkeys(place.named for place in places))
        stage = StageOptions(
            output=folder, jobs=options.jobs, device=options.device, strict=options.strict
        )
        failures |= dict(extract_features(sources, features, stage, flow).failures)
    return failures


def _own(settings: RunSettings) -> Path:
    """Folder of features from flow that is computed here; the keys hold the video's digest."""
    return settings.cache / "features"


def _given(settings: RunSettings) -> Path:
    """Folder of features from the user's flow caches, by their keys."""
    return settings.cache / "given"


def _copy_stage_one(folder: Path, settings: RunSettings) -> None:
    """Put the run's stage one where extract-features looks for it; it is checked by digest."""
    if (folder / FILE_NAME).exists():
        return
    tensors, metadata = read_safetensors(settings.stage_one)
    metadata["precision"] = settings.features.trunk.precision
    with suppress(FileExistsError):  # Another process may have been faster, with the same content.
        write_safetensors(folder / FILE_NAME, tensors, metadata, replace=False)

"""Features that are scored as they are: of other programs, or without their videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.cache.folder import cache_path, find_caches, no_features
from data.cache.header import IMPORTED
from data.errors import CacheError, InputError
from data.names import match_names
from data.sources import Source
from pipeline.runner.jobs import Outcome
from pipeline.runs.folder import Run
from pipeline.score.features import VideoFeatures, fits, make_features
from pipeline.score.members import Member
from pipeline.score.settings import NewVideoOptions, RunSettings, with_cache
from pipeline.shell.console import log

#: Options of import-features that decide what values mean; they must be those of training.
_MEANING = ("extractor", "scale")


@contextmanager
def features_for(
    sources: Sequence[Source], member: Member, options: NewVideoOptions
) -> Iterator[Outcome[Source, VideoFeatures]]:
    """Yield the features of some videos as a run needs them: found, or computed where it can be.

    Those that nobody wants to keep are gone after the block.

    Raises
    ------
    InputError
        The run was trained on imported features and no folder of such is named, or as
        `given_features` and `pipeline.score.features.make_features`.
    """
    run = member.run
    if run.imported and options.features is None:
        raise InputError(
            f"{member.folder}: was trained on imported features, which are not computed from "
            "videos; run import-features on those of the new videos, and name its output with "
            "--features"
        )
    if run.imported or not sources:
        yield given_features(sources, run, options.features)
        return
    with with_cache(options) as options:
        settings = RunSettings.from_run(run, member.stage_one, member.folder, options)
        yield make_features(sources, settings, options)


def given_features(
    sources: Sequence[Source], run: Run, folder: Path | None
) -> Outcome[Source, VideoFeatures]:
    """Return the features of some videos, or of all in a folder, without reading any video.

    Parameters
    ----------
    sources : sequence of Source
        Videos, which the names of caches match as judgements do; none takes every cache.
    run : Run
        That will score them.
    folder : Path
        Feature caches.

    Raises
    ------
    InputError
        There are no caches, or a name fits several.
    """
    if folder is None:
        raise InputError("name the VIDEOS to score, or a folder of their features with --features")
    caches = find_caches(folder, "features")
    if not caches:
        raise no_features(folder)
    keys = {source.key: source.key for source in sources}
    if sources:
        keys = match_names(keys, caches).keys
    else:
        sources = [Source(path, key) for key, path in caches.items()]
        keys = {key: key for key in caches}
    outcome: Outcome[Source, VideoFeatures] = Outcome()
    for source in sources:
        try:
            features = _read(source, folder, keys.get(source.key), run)
        except InputError as error:
            log.warning("%s: %s", source.key, error)
            outcome.failures.append((source, str(error)))
        else:
            outcome.results.append((source, features))
    return outcome


def _read(source: Source, folder: Path, key: str | None, run: Run) -> VideoFeatures:
    """Return the features of one video, made as in training.

    Raises
    ------
    InputError
        There are none, or they were made otherwise.
    """
    if key is None:
        raise CacheError(f"{cache_path(folder, source.key)}: no such cache")
    features = VideoFeatures.read(source, folder, key)
    parameters, trained = features.header.parameters, run.parameters
    if features.header.imported and run.imported:
        different = _different(parameters, trained)
    else:
        different = [
            name.replace("_", " ")
            for name in {*trained, *parameters}
            if not fits(name, parameters.get(name), trained.get(name))
        ]
    if features.header.weights != run.weights:
        different.append("weights")
    if different:
        command = "import-features" if run.imported else "extract-features"
        raise CacheError(
            f"{cache_path(folder, key)}: made with other {' and '.join(sorted(different))} than "
            f"the training features; run {command} as for training"
        )
    return features


def _different(parameters: Mapping[str, Any], trained: Mapping[str, Any]) -> list[str]:
    """Return the options that decide what values mean and are not those of training."""
    now, before = parameters[IMPORTED], trained[IMPORTED]
    return [
        f"{name} ({now.get(name) or 'none'}, not {before.get(name) or 'none'})"
        for name in _MEANING
        if now.get(name) != before.get(name)
    ]

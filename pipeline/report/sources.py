"""Where a run's files lie: named by the user, recorded, or next to the run with its digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.cache.folder import cache_path, content_digest, read_header
from data.errors import CacheError, InputError
from data.judgements.pairs import videos_of
from data.names import match_names
from data.sources import find_sources
from pipeline.runs.folder import RECORD, Run, load_run
from pipeline.runs.record import RunRecord, read_run_record

if TYPE_CHECKING:
    from data.cache.header import Header

# A folder next to the run counts as the run's own if this many of its caches have the digests that
# the run recorded.
_PROBED = 3


@dataclass(frozen=True, kw_only=True)
class Sources:
    """A run, and those of the files behind it that still exist.

    Attributes
    ----------
    folder : Path
        Run folder.
    run : Run
    record : RunRecord or None
    digests : dict of str to str
        Of the feature caches that the run was trained on, by video.
    features, flow : Path or None
        Caches of earlier stages.
    headers : dict of str to Header
        Of the feature caches, by video.
    flow_header : Header or None
        Of one flow cache.
    videos : dict of str to Path
        Videos of the recorded size.
    changed : tuple of str
        Videos of another size.
    notes : tuple of str
        What could not be found, in words.
    """

    folder: Path
    run: Run
    record: RunRecord | None
    digests: dict[str, str]
    features: Path | None = None
    flow: Path | None = None
    headers: dict[str, Header] = field(default_factory=dict)
    flow_header: Header | None = None
    videos: dict[str, Path] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find(
    run_folder: Path, features: Path | None, flow: Path | None, videos: Path | None
) -> Sources:
    """Load a run and find its files.

    Raises
    ------
    InputError
        The run cannot be read, or a named folder does not exist or belongs to another run.
    """
    folder = run_folder if run_folder.is_dir() else run_folder.parent
    run = load_run(run_folder)
    record = _record(folder, run)
    digests = dict(zip(run.keys, run.feature_digests, strict=False))
    features = _features(folder, features, record, digests)
    headers = _headers(features, run.keys)
    flow = _flow(flow, features, headers)
    files, changed = _videos(videos, run, headers)
    sources = Sources(
        folder=folder,
        run=run,
        record=record,
        digests=digests,
        features=features,
        flow=flow,
        headers=headers,
        flow_header=next(iter(_headers(flow, run.keys[:_PROBED]).values()), None),
        videos=files,
        changed=tuple(changed),
    )
    return replace(sources, notes=tuple(_missing(sources)))


def _record(folder: Path, run: Run) -> RunRecord | None:
    record = read_run_record(folder)
    if record is not None:
        names = set(videos_of([*record.train, *record.validation, *record.test]))
        if unknown := sorted(names - set(run.keys)):
            raise InputError(
                f"{folder / RECORD}: names videos that the run has not scored, e.g. "
                f"{unknown[0]}; delete it, and the page is written without it"
            )
    return record


def _features(
    folder: Path, named: Path | None, record: RunRecord | None, digests: Mapping[str, str]
) -> Path | None:
    if named is not None:
        if not named.is_dir():
            raise InputError(f"{named}: no such folder; expected a folder of feature caches")
        if other := [key for key in digests if not _same(named, key, digests[key])]:
            raise InputError(
                f"{named}: {len(other)} of {len(digests)} feature caches are missing or not those "
                f"that the run was trained on, e.g. {other[0]}"
            )
        return named
    candidates = [record.features] if record else []
    candidates.append(folder.resolve().parent / "features")
    return next((each for each in candidates if _holds(each, digests)), None)


def _flow(named: Path | None, features: Path | None, headers: Mapping[str, Header]) -> Path | None:
    if named is not None:
        if not named.is_dir():
            raise InputError(f"{named}: no such folder; expected a folder of flow caches")
        return named
    if features is None:
        return None
    neighbour = features.resolve().parent / "flow"
    digests = {key: header.upstream for key, header in headers.items()}
    return neighbour if _holds(neighbour, digests) else None


def _holds(folder: Path, digests: Mapping[str, str]) -> bool:
    """Whether the first caches of a folder have these digests."""
    probed = list(digests.items())[:_PROBED]
    return bool(probed) and all(_same(folder, key, digest) for key, digest in probed)


def _same(folder: Path, key: str, digest: str) -> bool:
    try:
        return content_digest(cache_path(folder, key)) == digest
    except CacheError:
        return False


def _headers(folder: Path | None, keys: Sequence[str]) -> dict[str, Header]:
    """Return the headers of the caches that can be read."""
    headers: dict[str, Header] = {}
    if folder is None:
        return headers
    for key in keys:
        try:
            headers[key] = read_header(cache_path(folder, key))
        except CacheError:
            continue
    return headers


def _videos(
    named: Path | None, run: Run, headers: Mapping[str, Header]
) -> tuple[dict[str, Path], list[str]]:
    """Return the videos that exist, and the names of those that have changed since."""
    if named is not None:
        paths = {source.key: source.path for source in find_sources([named])}
        if run.imported:  # Their names have no extension.
            paths = {key: paths[name] for name, key in match_names(paths, run.keys).keys.items()}
    else:
        recorded = {key: header for key, header in headers.items() if not header.imported}
        paths = {key: Path(header.source) for key, header in recorded.items() if header.source}
    files, changed = {}, []
    for key in run.keys:
        path, header = paths.get(key), headers.get(key)
        if path is None or not path.exists():
            continue
        if (
            header
            and not header.imported
            and path.is_file()
            and path.stat().st_size != header.source_size
        ):
            changed.append(key)
        else:
            files[key] = path
    return files, changed


def _missing(sources: Sources) -> list[str]:
    """Name what was not found, and the option that names its place."""
    count, changed = len(sources.run.keys), sources.changed
    notes = []
    if sources.record is None:
        notes.append(f"the run's pairs ({RECORD} is missing or of an earlier checkpoint)")
    if sources.features is None:
        notes.append("the run's feature caches (--features names their folder)")
    elif len(sources.headers) < count:
        notes.append(f"{count - len(sources.headers)} of {count} feature caches")
    if changed:
        notes.append(
            f"{len(changed)} videos whose files have another size than those that were judged, "
            f"e.g. {changed[0]}"
        )
    missing = count - len(sources.videos) - len(changed)
    if missing:
        notes.append(f"{missing} of {count} videos (--videos names their folder)")
    return notes

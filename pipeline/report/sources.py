"""Where the files of a run lie: given, recorded, or beside it and checked by digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.cache.folder import cache_path, content_digest, read_header
from data.errors import CacheError, InputError
from data.sources import find_sources
from pipeline.runner.files import read_safetensors
from pipeline.runs.folder import CHECKPOINT, Run, load_run
from pipeline.runs.record import RunRecord, read_json, read_run_record

if TYPE_CHECKING:
    from data.cache.header import Header

# A neighbour of the run is taken for its own only when so many of its caches have the digests
# that the run recorded.
_PROBED = 3
METRICS = "metrics.json"


@dataclass(frozen=True)
class Sources:
    """A run and what could be found of the files that it was made from.

    Attributes
    ----------
    folder : Path
        Run folder.
    run : Run
    about : dict
        The checkpoint's own description.
    metrics : dict
        Content of metrics.json; empty where it is gone.
    record : RunRecord or None
    features, flow : Path or None
        Caches of earlier stages.
    headers : dict of str to Header
        Of the feature caches that were found, by video.
    flow_header : Header or None
        Of one flow cache.
    videos : dict of str to Path
        Videos that are there and have the recorded size.
    changed : tuple of str
        Videos that are there with another size.
    notes : tuple of str
        What could not be found, in words.
    """

    folder: Path
    run: Run
    about: dict[str, Any]
    metrics: dict[str, Any]
    record: RunRecord | None
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
        The run cannot be read, or a folder that was given does not exist or is another run's.
    """
    folder = run_folder if run_folder.is_dir() else run_folder.parent
    run = load_run(run_folder)
    about = _about(run_folder)
    record = read_run_record(folder)
    digests = dict(zip(run.keys, about.get("feature_digests", ()), strict=False))
    there = _features(folder, features, record, digests)
    headers = _headers(there, run.keys) if there else {}
    flow_there = _flow(flow, there, headers)
    found, changed = _videos(videos, run.keys, headers)
    return Sources(
        folder,
        run,
        about,
        read_json(folder / METRICS) if (folder / METRICS).is_file() else {},
        record,
        there,
        flow_there,
        headers,
        _one_header(flow_there, run.keys),
        found,
        changed,
        tuple(_missing(run.keys, there, headers, found, changed)),
    )


def _about(run_folder: Path) -> dict[str, Any]:
    path = run_folder / CHECKPOINT if run_folder.is_dir() else run_folder
    about = read_safetensors(path)[1]["dexterank"]
    if not isinstance(about, dict):
        raise InputError(f"{path}: not a ranker's checkpoint")
    return about


def _features(
    folder: Path, given: Path | None, record: RunRecord | None, digests: dict[str, str]
) -> Path | None:
    if given is not None:
        if not given.is_dir():
            raise InputError(f"{given}: no such folder; it should hold feature caches")
        if other := [key for key in digests if not _same(cache_path(given, key), digests[key])]:
            raise InputError(
                f"{given}: {len(other)} of {len(digests)} feature caches are missing or not those "
                f"that the run was trained on, e.g. {other[0]}"
            )
        return given
    candidates = [record.features] if record else []
    candidates.append(folder.resolve().parent / "features")
    probed = list(digests.items())[:_PROBED]
    for each in candidates:
        if probed and all(_same(cache_path(each, key), digest) for key, digest in probed):
            return each
    return None


def _same(path: Path, digest: str) -> bool:
    try:
        return content_digest(path) == digest
    except CacheError:
        return False


def _headers(features: Path, keys: Sequence[str]) -> dict[str, Header]:
    found = {}
    for key in keys:
        try:
            found[key] = read_header(cache_path(features, key))
        except CacheError:
            continue
    return found


def _flow(given: Path | None, features: Path | None, headers: dict[str, Header]) -> Path | None:
    if given is not None:
        if not given.is_dir():
            raise InputError(f"{given}: no such folder; it should hold flow caches")
        return given
    if features is None or not headers:
        return None
    beside = features.resolve().parent / "flow"
    probed = list(headers.items())[:_PROBED]
    matches = all(_same(cache_path(beside, key), header.upstream) for key, header in probed)
    return beside if matches else None


def _one_header(folder: Path | None, keys: Sequence[str]) -> Header | None:
    if folder is None:
        return None
    return next(iter(_headers(folder, keys[:_PROBED]).values()), None)


def _videos(
    given: Path | None, keys: Sequence[str], headers: dict[str, Header]
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return the videos that are there, and those that have changed since."""
    if given is not None:
        there = {source.key: source.path for source in find_sources([given])}
    else:
        there = {key: Path(header.source) for key, header in headers.items() if header.source}
    found, changed = {}, []
    for key in keys:
        path = there.get(key)
        if path is None or not path.exists():
            continue
        header = headers.get(key)
        if header and path.is_file() and path.stat().st_size != header.source_size:
            changed.append(key)
        else:
            found[key] = path
    return found, tuple(changed)


def _missing(
    keys: Sequence[str],
    features: Path | None,
    headers: dict[str, Header],
    videos: dict[str, Path],
    changed: Sequence[str],
) -> list[str]:
    """Say what was not found, and which option names it."""
    notes = []
    if features is None:
        notes.append("the run's feature caches were not found (--features names their folder)")
    elif len(headers) < len(keys):
        notes.append(f"{len(keys) - len(headers)} of {len(keys)} feature caches were not found")
    if changed:
        notes.append(
            f"{len(changed)} videos are not the files that were judged (another size), e.g. "
            f"{changed[0]}"
        )
    gone = len(keys) - len(videos) - len(changed)
    if gone:
        notes.append(f"{gone} of {len(keys)} videos were not found (--videos names their folder)")
    return notes

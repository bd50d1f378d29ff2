"""What was run: data, options, digests, versions and sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from model.ranker.options import recorded_ranker
from pipeline.shell.words import format_bytes, format_duration, value_text

if TYPE_CHECKING:
    from pipeline.report.sources import Sources


@dataclass(frozen=True)
class Group:
    """Named facts under a heading."""

    title: str
    facts: tuple[tuple[str, str], ...]


def what_was_run(sources: Sources) -> list[Group]:
    """Return data, options, digests and versions, a group for each stage."""
    run, flow = sources.run, sources.flow_header
    groups = {
        "Data": _data(sources),
        "Ranker": (
            *_flat(recorded_ranker(run.ranker)),
            *((("cues", note),) if (note := run.cue_note()) else ()),
            ("maps it takes (C×H×W)", "×".join(map(str, run.shape))),
            ("seed", str(run.seed)),
        ),
        "Training": (
            *_time(sources),
            ("protocol, in words", run.protocol),
            ("chosen epoch", str(run.best_epoch)),
            *_flat(asdict(run.train)),
            ("least distance of snippets, frames", str(run.snippet_stride)),
        ),
        "Features": (*_flat(run.parameters), *_stage_one(sources.folder)),
        "Flow": _flat(flow.parameters) if flow else (),
        "Weights, SHA-256": run.weights.items(),
        "Versions": _versions(sources),
    }
    named = [Group(title, tuple(facts)) for title, facts in groups.items()]
    return [group for group in named if group.facts]


def random_trunks(folder: Path) -> bool:
    """Whether a run's features come from untrained trunks; False if the run does not say."""
    from model.features.options import TrunkOptions
    from pipeline.stage_one.origins import origins

    metadata = _stage_one_metadata(folder)
    try:
        return "random" in origins(TrunkOptions(**metadata["trunk"])).values()
    except (KeyError, TypeError):
        return False


def _data(sources: Sources) -> Iterator[tuple[str, str]]:
    run, record = sources.run, sources.record
    yield "run", str(sources.folder.resolve())
    yield "videos scored", str(len(run.keys))
    yield "of these named by training pairs", str(len(run.training_videos))
    frames = [header.decoded_frames for header in sources.headers.values()]
    if frames and not run.imported:
        yield "frames", f"{sum(frames):,} in all, {min(frames):,} to {max(frames):,} per video"
    if record:
        yield "training pairs", str(len(record.train))
        if record.validation:
            yield "validation pairs", str(len(record.validation))
        yield "test pairs", str(len(record.test))
    for name, folder in (("feature caches", sources.features), ("flow caches", sources.flow)):
        if folder:
            yield name, f"{folder}, {_cache_bytes(folder, run.keys)}"
    if folders := sorted({str(path.parent) for path in sources.videos.values()}):
        more = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
        yield "videos in", folders[0] + more
    warned = [key for key, header in sources.headers.items() if header.warnings]
    if warned:
        first = sources.headers[warned[0]].warnings[0]
        yield "videos with warnings", f"{len(warned)}, e.g. {warned[0]}: {first}"


def _cache_bytes(folder: Path, keys: Sequence[str]) -> str:
    from data.cache.folder import cache_path

    paths = [cache_path(folder, key) for key in keys]
    return format_bytes(sum(path.stat().st_size for path in paths if path.is_file()))


def _time(sources: Sources) -> Iterator[tuple[str, str]]:
    if sources.record:
        yield "time of training", format_duration(sources.record.seconds)


def _versions(sources: Sources) -> Iterator[tuple[str, str]]:
    from importlib.metadata import version

    header = next(iter(sources.headers.values()), None)
    stages = (
        ("flow", sources.flow_header.versions if sources.flow_header else {}),
        ("features", header.versions if header else {}),
        ("training", sources.record.versions if sources.record else {}),
    )
    for stage, versions in stages:
        if versions:
            yield stage, ", ".join(f"{name} {value}" for name, value in versions.items())
    yield "this page", f"dexterank {version('dexterank')}, Jinja {version('jinja2')}"


def _stage_one_metadata(folder: Path) -> dict[str, Any]:
    from pipeline.runner.files import read_safetensors
    from pipeline.stage_one.file import FILE_NAME

    try:
        return read_safetensors(folder / FILE_NAME)[1]
    except InputError:
        return {}


def _stage_one(folder: Path) -> Iterator[tuple[str, str]]:
    metadata = _stage_one_metadata(folder)
    for name in ("trunk", "fusion"):
        values = metadata.get(name)
        if isinstance(values, dict):
            yield from _flat({key: each for key, each in values.items() if each is not None})
    if "seed" in metadata:
        yield "seed of stage one", str(metadata["seed"])


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield options as words and text, nested ones after the name of their group."""
    for name, value in values.items():
        label = f"{above}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{label}: ")
        else:
            yield label, value_text(value)

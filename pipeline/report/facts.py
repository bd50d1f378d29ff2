"""What was run, and what it cost: options, versions, digests, data, time, disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from pipeline.shell.words import format_bytes, format_duration

if TYPE_CHECKING:
    from pipeline.report.accuracy import RunPairs
    from pipeline.report.evaluation import EvaluationFacts
    from pipeline.report.sources import Sources

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Group:
    """Named facts under a heading."""

    title: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cost:
    """Time and disk of a stage, in words."""

    stage: str
    time: str
    disk: str


def what_was_run(sources: Sources, pairs: RunPairs | None) -> list[Group]:
    """Return options, digests and versions, a group for each stage."""
    run = sources.run
    groups = [
        Group("Data", tuple(_data(sources, pairs))),
        Group(
            "Ranker",
            (
                *_flat(asdict(run.ranker)),
                ("maps it takes (C×H×W)", "×".join(map(str, run.shape))),
                ("seed", str(run.seed)),
            ),
        ),
        Group(
            "Training",
            (
                ("protocol, in words", run.protocol),
                ("chosen epoch", str(run.best_epoch)),
                *_flat(asdict(run.train)),
                ("least distance of snippets, frames", str(run.snippet_stride)),
            ),
        ),
        Group("Features", (*_flat(run.parameters), *_stage_one(sources.folder))),
    ]
    if sources.flow_header:
        groups.append(Group("Flow", tuple(_flat(sources.flow_header.parameters))))
    groups.append(
        Group("Weights, SHA-256", tuple((name, digest) for name, digest in run.weights.items()))
    )
    groups.append(Group("Versions", tuple(_versions(sources))))
    return [group for group in groups if group.facts]


def random_trunks(folder: Path) -> bool:
    """Whether a run's features come from untrained trunks, as far as the run folder tells."""
    from model.features.options import TrunkOptions
    from pipeline.stage_one.networks import origins

    about = _stage_one_metadata(folder)
    try:
        return "random" in origins(TrunkOptions(**about["trunk"])).values()
    except (KeyError, TypeError):
        return False


def costs(
    sources: Sources, evaluation: EvaluationFacts | None, seconds: Mapping[str, float] | None
) -> list[Cost]:
    """Return time and disk of each stage as far as they are known.

    Parameters
    ----------
    seconds : mapping of str to float, optional
        Wall times by stage, measured by the caller.
    """
    told = dict(seconds or {})
    keys = sources.run.keys
    trained = told.pop("train-ranker", None)
    trained = sources.record.seconds if sources.record else trained
    rows = [
        Cost("videos", _took(told.pop("generate videos", None)), _size(_source_bytes(sources))),
        Cost("extract-flow", _took(told.pop("extract-flow", None)), _caches(sources.flow, keys)),
        Cost(
            "extract-features",
            _took(told.pop("extract-features", None)),
            _caches(sources.features, keys),
        ),
        Cost("train-ranker", _took(trained), _size(_folder_bytes(sources.folder))),
    ]
    wall = told.pop("cross-validate", None)
    if evaluation:
        parts = [] if wall is None else [_took(wall)]
        if evaluation.seconds is not None:
            summed = format_duration(evaluation.seconds)
            parts.append(f"{summed} for {evaluation.trainings} trainings, one thread each")
        time = "; ".join(parts) or NOT_RECORDED
        rows.append(Cost("evaluate", time, _size(_folder_bytes(evaluation.folder))))
    return rows + [Cost(name, _took(taken), "") for name, taken in told.items()]


def _took(seconds: float | None) -> str:
    return NOT_RECORDED if seconds is None else format_duration(seconds)


def _size(count: int) -> str:
    return format_bytes(count) if count else "not found"


def _source_bytes(sources: Sources) -> int:
    return sum(header.source_size for header in sources.headers.values())


def _caches(folder: Path | None, keys: Sequence[str]) -> str:
    from data.cache.folder import cache_path

    paths = [cache_path(folder, key) for key in keys] if folder else []
    return _size(sum(path.stat().st_size for path in paths if path.is_file()))


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _data(sources: Sources, pairs: RunPairs | None) -> Iterator[tuple[str, str]]:
    run = sources.run
    yield "run", str(sources.folder.resolve())
    yield "videos scored", str(len(run.keys))
    yield "of these named by training pairs", str(len(run.training_videos))
    frames = [header.decoded_frames for header in sources.headers.values()]
    if frames:
        yield "frames", f"{sum(frames):,} in all, {min(frames):,} to {max(frames):,} a video"
    if pairs:
        yield "training pairs", str(len(pairs.train))
        if pairs.validation:
            yield "validation pairs", str(len(pairs.validation))
        yield "test pairs", str(len(pairs.test))
    if sources.features:
        yield "feature caches", str(sources.features)
    if sources.flow:
        yield "flow caches", str(sources.flow)
    if folders := sorted({str(path.parent) for path in sources.videos.values()}):
        more = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
        yield "videos in", folders[0] + more
    odd = [key for key, header in sources.headers.items() if header.warnings]
    if odd:
        first = sources.headers[odd[0]].warnings[0]
        yield "videos with warnings", f"{len(odd)}, e.g. {odd[0]}: {first}"


def _versions(sources: Sources) -> Iterator[tuple[str, str]]:
    from importlib.metadata import version

    header = next(iter(sources.headers.values()), None)
    made = (
        ("flow", sources.flow_header.versions if sources.flow_header else {}),
        ("features", header.versions if header else {}),
        ("training", sources.record.versions if sources.record else {}),
    )
    for stage, versions in made:
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
    about = _stage_one_metadata(folder)
    for name in ("trunk", "fusion"):
        values = about.get(name)
        if isinstance(values, dict):
            yield from _flat({key: each for key, each in values.items() if each is not None})
    if "seed" in about:
        yield "seed of stage one", str(about["seed"])


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield options as words and text, the inner ones after the name of what holds them."""
    for name, value in values.items():
        label = f"{above}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{label}: ")
        else:
            yield label, _word(value)


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_word, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)

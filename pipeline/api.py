"""The commands as functions, for notebooks and scripts: paths in, plain results out.

Each does what its command does, by the same code. Options are keywords with the names of the
command's flags (`--stack-length` is `stack_length`), checked as the command line checks them.
Input that cannot be used raises `InputError` with the line that the command would print; a video
that cannot be used is listed in `failures` and does not stop the others.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from pipeline.api_options import Paths, context, run_command, takes_options_of
from pipeline.api_results import (
    CrossValidation,
    Demonstration,
    Explained,
    Extracted,
    LearntFusion,
    Scored,
    Trained,
)
from pipeline.jobs import JobOptions
from pipeline.options import build

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.explain import Explained as Drawn
    from pipeline.extract_features import FeatureResult
    from pipeline.flow_workers import FlowResult
    from pipeline.jobs import Outcome

__all__ = [
    "CrossValidation",
    "Demonstration",
    "Explained",
    "Extracted",
    "InputError",
    "LearntFusion",
    "Scored",
    "Trained",
    "cross_validate",
    "describe",
    "explain_videos",
    "extract",
    "learn_fusion",
    "run_demo",
    "score_videos",
    "train",
    "write_report",
]


# Flow is always kept here: a folder of its own for it would be one too many.
@takes_options_of("extract-flow", "extract-features", without=("flow", "save_flow"))
def extract(videos: Paths, output: str | Path, **options: Any) -> Extracted:
    """Compute flow and features of videos: `extract-flow`, then `extract-features`.

    Parameters
    ----------
    videos : path or sequence of paths
        Folders, files, ``@list.txt`` or a CSV with a column ``video``.
    output : path
        Gets ``flow/`` and ``features/``. What is there and valid is kept.
    **options
        Flags of both commands.

    Returns
    -------
    Extracted

    Raises
    ------
    InputError
        No video could be used; caches made with other options are in the way.
    """
    from data.sources import find_sources

    given = _paths(videos)
    found = Extracted(Path(output) / "flow", Path(output) / "features", ())
    sources = find_sources(given)
    flow = _compute_flow(sources, found.flow, given, options)
    failures = {source.key: message for source, message in flow.failures}
    if not flow.results:
        raise InputError(f"none of {len(sources)} videos could be used: {_example(failures)}")
    usable = [source for source, _ in flow.results]
    features = _compute_features(usable, found, given, options)
    failures |= {source.key: message for source, message in features.failures}
    if not features.results:
        raise InputError(f"none of {len(sources)} videos has features: {_example(failures)}")
    return Extracted(
        found.flow,
        found.features,
        tuple(source.key for source, _ in features.results),
        failures,
        {source.key: result.warnings for source, result in features.results if result.warnings},
    )


def _compute_flow(
    sources: Sequence[Source], output: Path, given: Sequence[str], options: Mapping[str, Any]
) -> Outcome[Source, FlowResult]:
    from data.options import FlowOptions, PlanOptions
    from model.tvl1.options import TVL1Options
    from pipeline.extract_flow import extract_flow

    params = context("extract-flow", {**options, "output": output}, given).params
    return extract_flow(
        sources,
        output,
        build(PlanOptions, params),
        build(FlowOptions, params),
        build(TVL1Options, params),
        params["engine"],
        _jobs(params),
        params["device"],
        overwrite=params["overwrite"],
        strict=params["strict"],
        seed=params["seed"],
    )


def _compute_features(
    sources: Sequence[Source], found: Extracted, given: Sequence[str], options: Mapping[str, Any]
) -> Outcome[Source, FeatureResult]:
    from data.options import PlanOptions
    from model.features.options import FusionOptions, TrunkOptions
    from pipeline.extract_features import extract_features

    folders = {"output": found.features, "flow": found.flow}
    params = context("extract-features", {**options, **folders}, given).params
    return extract_features(
        sources,
        found.flow,
        found.features,
        build(PlanOptions, params),
        build(TrunkOptions, params),
        build(FusionOptions, params),
        # The shard was taken when flow was computed.
        JobOptions(params["jobs"], params["backend"], params["scheduler"]),
        params["device"],
        params["batch_size"],
        overwrite=params["overwrite"],
        strict=params["strict"],
        seed=params["seed"],
        keep_streams=params["keep_streams"],
    )


@takes_options_of("fit-fusion")
def learn_fusion(
    features: str | Path, pairs: str | Path, output: str | Path, **options: Any
) -> LearntFusion:
    """Learn ConvFusion together with a ranker on training pairs: `fit-fusion`.

    Parameters
    ----------
    features : path
        Folder of ``extract(..., keep_streams=True)``.
    pairs : path
        Training judgements.
    output : path
        The checkpoint to write (.safetensors).
    **options
        Flags of the command.

    Returns
    -------
    LearntFusion

    Raises
    ------
    InputError
        Caches without stream maps, or judgements or options that cannot be used.
    """
    paths = {"features": features, "pairs": pairs, "output": output}
    text, _ = run_command("fit-fusion", {**options, **paths})
    return LearntFusion(Path(output), text.strip())


@takes_options_of("train-ranker")
def train(features: str | Path, pairs: str | Path, output: str | Path, **options: Any) -> Trained:
    """Train a ranker on cached features: `train-ranker`.

    Parameters
    ----------
    features : path
        Folder of the feature caches.
    pairs : path
        Judgements: a CSV ``better,worse``, or a data set's folder.
    output : path
        The run folder.
    **options
        Flags of the command.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        Judgements, features or options that cannot be used, or another run in the folder.
    """
    paths = {"features": features, "pairs": pairs, "output": output}
    run_command("train-ranker", {**options, **paths})
    run = Path(output)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return Trained(
        run,
        [_numbers(row) for row in _rows(run / "scores.csv")],
        metrics["accuracy"],
        metrics["protocol"],
        metrics["best_epoch"],
        metrics["history"],
    )


@takes_options_of("evaluate")
def cross_validate(
    features: str | Path, pairs: str | Path, output: str | Path, **options: Any
) -> CrossValidation:
    """Cross-validate rankers beside baselines: `evaluate`.

    Parameters
    ----------
    features : path
        Folder of the feature caches.
    pairs : path
        Judgements: a data set's folder, or a CSV ``better,worse`` or ``video,score``.
    output : path
        Gets the tables; finished runs in it are not done again.
    **options
        Flags of the command; `variant` takes one name or several.

    Returns
    -------
    CrossValidation

    Raises
    ------
    InputError
        Anything that cannot be used, before any training.
    """
    paths = {"features": features, "pairs": pairs, "output": output}
    text, failures = run_command("evaluate", {**options, **paths})
    return _tabled(Path(output), text, failures)


@takes_options_of("score")
def score_videos(run: str | Path, videos: Paths, **options: Any) -> Scored:
    """Score videos with a trained run, flow and features included: `score`.

    Parameters
    ----------
    run : path
        A run folder; with ``ensemble=True`` a folder of runs.
    videos : path or sequence of paths
        Folders, files, ``@list.txt`` or a CSV with a column ``video``.
    **options
        Flags of the command; `csv`, `json` and `output` write files as it does.

    Returns
    -------
    Scored

    Raises
    ------
    InputError
        A run or options that cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(options.get("json") or Path(folder) / "scores.json")
        arguments = [run, *_paths(videos)]
        text, _ = run_command("score", {**options, "json": target}, arguments)
        found = json.loads(target.read_text(encoding="utf-8"))
    failures = {each["video"]: each["message"] for each in found["failures"]}
    return Scored(found["videos"], failures, text)


@takes_options_of("explain")
def explain_videos(run: str | Path, videos: Paths, output: str | Path, **options: Any) -> Explained:
    """Draw where in the frame a trained run looked: `explain`.

    Parameters
    ----------
    run : path
        A run folder.
    videos : path or sequence of paths
        As for `score_videos`.
    output : path
        Folder for a contact sheet (PNG) and a moving overlay of each video.
    **options
        Flags of the command.

    Returns
    -------
    Explained

    Raises
    ------
    InputError
        A run without attention over the frame, or options that cannot be used.
    """
    given = _paths(videos)
    ctx = context("explain", {**options, "output": output}, [run, *given])
    outcome = _explained(ctx.params)
    return Explained(
        Path(output),
        {source.key: drawn.sheet for source, drawn in outcome.results},
        {source.key: drawn.overlay for source, drawn in outcome.results if drawn.overlay},
        {source.key: message for source, message in outcome.failures},
    )


@takes_options_of("report")
def write_report(run: str | Path, output: str | Path, **options: Any) -> Path:
    """Write one self-contained HTML page about a run: `report`.

    Parameters
    ----------
    run : path
        A run folder.
    output : path
        The page to write.
    **options
        Flags of the command.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        A run or options that cannot be used.
    """
    run_command("report", {**options, "output": output}, [run])
    return Path(output)


@takes_options_of("inspect")
def describe(paths: Paths, **options: Any) -> list[dict[str, Any]]:
    """Say what is in videos, caches, folders, runs and judgements: `inspect --json`.

    Parameters
    ----------
    paths : path or sequence of paths
    **options
        Flags of the command.

    Returns
    -------
    list of dict
        What the command prints as JSON.

    Raises
    ------
    InputError
        A path that is not there, or options that cannot be used.
    """
    text, _ = run_command("inspect", {**options, "json": True}, _paths(paths))
    found: list[dict[str, Any]] = json.loads(text)
    return found


@takes_options_of("demo")
def run_demo(output: str | Path, **options: Any) -> Demonstration:
    """Run everything end to end on synthetic videos: `demo`.

    Parameters
    ----------
    output : path
        Gets everything that is made.
    **options
        Flags of the command.

    Returns
    -------
    Demonstration

    Raises
    ------
    InputError
        Options that cannot be used, or results of other options in the folder.
    """
    text, failures = run_command("demo", {**options, "output": output})
    return Demonstration(Path(output), text, failures)


def _explained(params: dict[str, Any]) -> Outcome[Source, Drawn]:
    """Draw as the command's parameters say."""
    from data.sources import find_sources
    from pipeline.explain import explain
    from pipeline.explain_options import ExplainOptions
    from pipeline.overlay import OverlayOptions
    from pipeline.score_options import Making

    if params["shard"]:
        raise InputError("explain runs in one piece: shard is for extract and the like")
    return explain(
        params["run"],
        find_sources(params["videos"]),
        params["output"],
        Making.of(params),
        build(ExplainOptions, params),
        build(OverlayOptions, params),
    )


def _paths(videos: Paths) -> list[str]:
    several = [videos] if isinstance(videos, str | Path) else videos
    return [str(each) for each in several]


def _jobs(params: Mapping[str, Any]) -> JobOptions:
    return JobOptions(*(params[name] for name in ("jobs", "backend", "scheduler", "shard")))


def _example(failures: Mapping[str, str]) -> str:
    return next(f"{key}: {message}" for key, message in failures.items())


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the ranking with numbers in place of their text."""
    return {
        **row,
        "score": float(row["score"]),
        "rank": int(row["rank"]),
        "percentile": float(row["percentile"]),
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _tabled(folder: Path, text: str, failures: tuple[str, ...]) -> CrossValidation:
    if not text.strip():  # Printed when all runs are there; an older table may lie about.
        return CrossValidation(folder, [], failures)
    markdown = (folder / "table.md").read_text(encoding="utf-8")
    return CrossValidation(folder, _rows(folder / "table.csv"), failures, text, markdown)

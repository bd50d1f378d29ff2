"""From videos to a tested ranker, as functions: `extract`, `train`, `cross_validate`."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from pipeline.api_options import Paths, as_paths, context, run_command, takes_options_of
from pipeline.api_results import CrossValidation, Extracted, LearntFusion, Trained
from pipeline.runner.stage import StageOptions
from pipeline.shell.flags import build

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.extract_features.settings import FeatureResult
    from pipeline.extract_flow.video import FlowResult
    from pipeline.runner.jobs import Outcome


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

    given = as_paths(videos)
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
    from pipeline.extract_flow.command import extract_flow
    from pipeline.extract_flow.settings import FlowSettings

    params = context("extract-flow", {**options, "output": output}, given).params
    settings = FlowSettings.resolved(
        plan=build(PlanOptions, params),
        flow=build(FlowOptions, params),
        tvl1=build(TVL1Options, params),
        engine=params["engine"],
        device=params["device"],
        strict=params["strict"],
    )
    return extract_flow(sources, settings, build(StageOptions, params))


def _compute_features(
    sources: Sequence[Source], found: Extracted, given: Sequence[str], options: Mapping[str, Any]
) -> Outcome[Source, FeatureResult]:
    from pipeline.extract_features.command import extract_features
    from pipeline.extract_features.settings import FeatureSettings

    folders = {"output": found.features, "flow": found.flow}
    params = context("extract-features", {**options, **folders}, given).params
    params["shard"] = None  # It was taken when flow was computed.
    return extract_features(sources, build(FeatureSettings, params), build(StageOptions, params))


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

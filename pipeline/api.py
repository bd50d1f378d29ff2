"""The commands as functions, for notebooks and scripts: paths in, plain results out.

Each calls the function of its command. Options are keywords with the names of the command's flags
(`--stack-length` is `stack_length`), checked as flags are. Input that cannot be used raises
`InputError` with the line that the command would print; a video that cannot be used is listed in
`failures` and does not stop the others.
"""

from __future__ import annotations

import csv as csv_files
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from data.folders import ARRAYS
from data.sources import find_sources
from model.ranker.options import SNIPPET_STRIDE, TrainOptions, apply_preset
from pipeline.demo.command import demo
from pipeline.demo.options import DemoOptions
from pipeline.evaluate.command import evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.explain.command import ExplainOptions, explain
from pipeline.extract_features.command import extract_features
from pipeline.extract_features.settings import FeatureSettings
from pipeline.extract_flow.settings import FlowComputation
from pipeline.fit_fusion.command import fit_fusion
from pipeline.fit_fusion.settings import FusionSettings
from pipeline.import_features.command import import_features
from pipeline.import_features.settings import ImportSettings
from pipeline.inspect.command import inspect
from pipeline.inspect.options import InspectOptions
from pipeline.judge.command import judge
from pipeline.judge.settings import JudgeSettings
from pipeline.report.command import write_report as write_page
from pipeline.report.content import ReportSettings
from pipeline.runner.jobs import JobOptions, Outcome
from pipeline.runner.stage import StageOptions
from pipeline.score.command import check_run, without_films
from pipeline.score.command import score_videos as score
from pipeline.score.settings import CACHE, NewVideoOptions
from pipeline.shell.flags import shared
from pipeline.shell.keywords import explicit_fields, from_keywords, takes
from pipeline.train_ranker.command import train_ranker
from pipeline.train_ranker.settings import TrainSettings

if TYPE_CHECKING:
    from data.sources import Source
    from pipeline.demo.options import DemoResult
    from pipeline.fit_fusion.fit import FusionFit
    from pipeline.train_ranker.output import TrainedRun

#: One path, or several.
Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, kw_only=True)
class PresetKeywords:
    """The preset of a training."""

    preset: str = shared("preset")
    snippet_stride: int | None = shared("snippet_stride")


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """Caches of some videos.

    Attributes
    ----------
    flow, features : Path
        Folders of the caches; `features` is what `train` takes.
    videos : tuple of str
        Keys of the videos with features, in order.
    failures : dict of str to str
        Why other videos have none.
    warnings : dict of str to tuple of str
        What was odd about videos that have some.
    """

    flow: Path
    features: Path
    videos: tuple[str, ...]
    failures: dict[str, str]
    warnings: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Feature caches of arrays.

    Attributes
    ----------
    features : Path
        Their folder, which `train` takes.
    videos : tuple of str
        Keys of the videos with features, in order.
    failures : dict of str to str
        Why other files gave none.
    warnings : dict of str to tuple of str
        What was odd about files that gave some.
    """

    features: Path
    videos: tuple[str, ...]
    failures: dict[str, str]
    warnings: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The table of a cross-validation; printing it shows the table, as does a notebook.

    Attributes
    ----------
    folder : Path
        With the tables and every run's own file.
    rows : list of dict
        One method a row, as in ``table.csv``. Empty where runs failed or are other shards'.
    failures : dict of str to str
        Runs that failed, and why.
    text, markdown : str
        The table, with what must be said above and below it.
    """

    folder: Path
    rows: list[dict[str, str]]
    failures: dict[str, str]
    text: str = ""
    markdown: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.markdown


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores of videos, next to those of the training videos; printing it shows the table.

    Attributes
    ----------
    rows : list of dict
        Best first: ``video``, ``score``, ``standardised``, ``rank``, ``of``, ``percentile``,
        ``better`` and ``worse`` (the training videos next to it, or None), and of several runs
        ``spread``.
    failures : dict of str to str
        Why other videos have no score.
    text : str
        The table.
    """

    rows: list[dict[str, Any]]
    failures: dict[str, str]
    text: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """A page on which experts compare videos.

    Attributes
    ----------
    page : Path
        The page; it opens from disk.
    videos : tuple of str
        Those on it.
    comparisons : int
        About how many a judge makes.
    failures : dict of str to str
        Why other videos are not on it.
    """

    page: Path
    videos: tuple[str, ...]
    comparisons: int
    failures: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """Pictures of attention.

    Attributes
    ----------
    folder : Path
    sheets : dict of str to Path
        The contact sheet of each video.
    films : dict of str to Path
        The film of each video; empty with ``film=False``.
    failures : dict of str to str
        Why other videos have none.
    """

    folder: Path
    sheets: dict[str, Path]
    films: dict[str, Path]
    failures: dict[str, str]


@takes(JudgeSettings, NewVideoOptions, without=("shard",))
def judge_videos(videos: Paths, output: str | Path, **options: Any) -> Comparisons:
    """Write a page on which experts compare videos side by side: `judge`.

    Parameters
    ----------
    videos : path or sequence of paths
        Folders, files, ``@list.txt`` or a CSV with a column ``video``.
    output : path
        Gets ``index.html`` and small copies of the videos.
    **options
        Flags of the command.

    Raises
    ------
    InputError
        Fewer than two videos can be shown, or options that cannot be used.
    """
    new = from_keywords(NewVideoOptions, options)
    sources = without_films(find_sources(_paths(videos), new.exclude))
    made = judge(sources, output, from_keywords(JudgeSettings, options), new)
    return Comparisons(
        page=made.page,
        videos=made.videos,
        comparisons=made.length.comparisons,
        failures=_failures(made.outcome),
    )


# The caches always lie in `output`, and the sampling plan is that of the features.
@takes(FeatureSettings, FlowComputation, StageOptions, without=("dry_run",))
def extract(videos: Paths, output: str | Path, **options: Any) -> Extracted:
    """Compute flow and features of videos: `extract-flow`, then `extract-features`.

    Parameters
    ----------
    videos : path or sequence of paths
        Folders, files, ``@list.txt`` or a CSV with a column ``video``.
    output : path
        Gets ``flow/`` and ``features/``; valid caches in them are kept.
    **options
        Flags of both commands.

    Raises
    ------
    InputError
        No video could be used; caches made with other options are in the way.
    """
    flow, features = Path(output) / "flow", Path(output) / "features"
    settings = from_keywords(FeatureSettings, options, flow=flow)
    stage = from_keywords(StageOptions, options, output=features)
    sources = find_sources(_paths(videos), stage.exclude)
    computation = from_keywords(FlowComputation, options).settings(settings.plan, stage)
    outcome = extract_features(sources, settings, stage, computation)
    if not outcome.results and outcome.failures:
        source, message = outcome.failures[0]
        raise InputError(f"none of {len(sources)} videos could be used: {source.key}: {message}")
    return Extracted(
        flow=flow,
        features=features,
        videos=tuple(source.key for source, _ in outcome.results),
        failures=_failures(outcome),
        warnings={source.key: r.warnings for source, r in outcome.results if r.warnings},
    )


@takes(ImportSettings, StageOptions, without=("dry_run", "device", "strict"))
def import_arrays(arrays: Paths, output: str | Path, **options: Any) -> Imported:
    """Turn arrays of other extractors into feature caches: `import-features`.

    Parameters
    ----------
    arrays : path or sequence of paths
        Folders, ``.npy``, ``.npz`` or HDF5 files, ``@list.txt`` or a CSV with a column ``video``.
    output : path
        Folder of the feature caches; valid ones in it are kept.
    **options
        Flags of the command.

    Raises
    ------
    InputError
        No file could be used; caches made with other options are in the way.
    """
    stage = from_keywords(StageOptions, options, output=Path(output))
    sources = find_sources(_paths(arrays), stage.exclude, ARRAYS)
    outcome = import_features(sources, from_keywords(ImportSettings, options), stage)
    return Imported(
        features=Path(output),
        videos=tuple(source.key for source, _ in outcome.results),
        failures=_failures(outcome),
        warnings={source.key: r.warnings for source, r in outcome.results if r.warnings},
    )


@takes(FusionSettings)
def learn_fusion(
    features: str | Path, pairs: str | Path, output: str | Path, **options: Any
) -> FusionFit:
    """Learn ConvFusion together with a ranker on training pairs: `fit-fusion`.

    Parameters
    ----------
    features : path
        Folder of ``extract(..., keep_streams=True)``.
    pairs : path
        Training judgements.
    output : path
        The checkpoint to write (.safetensors), for ``extract(..., fusion=path)``.
    **options
        Flags of the command.

    Raises
    ------
    InputError
        Caches without stream maps, or judgements or options that cannot be used.
    """
    paths = {"features": Path(features), "pairs": Path(pairs), "output": Path(output)}
    settings = from_keywords(FusionSettings, options, **paths)
    return fit_fusion(
        replace(settings, train=_with_preset(settings.train, settings.preset, options))
    )


@takes(TrainSettings)
def train(
    features: str | Path, pairs: str | Path, output: str | Path, **options: Any
) -> TrainedRun:
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

    Raises
    ------
    InputError
        Judgements, features or options that cannot be used, or another run in the folder.
    """
    paths = {"features": Path(features), "pairs": Path(pairs), "output": Path(output)}
    settings = from_keywords(TrainSettings, options, **paths)
    return train_ranker(
        replace(settings, train=_with_preset(settings.train, settings.preset, options))
    )


@takes(PresetKeywords, EvaluateSettings)
def cross_validate(
    features: str | Path, pairs: str | Path, output: str | Path, **options: Any
) -> CrossValidation:
    """Cross-validate rankers and compare them with baselines: `evaluate`.

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

    Raises
    ------
    InputError
        Anything that cannot be used, before any training.
    """
    paths = {"features": Path(features), "pairs": Path(pairs), "output": Path(output)}
    preset = from_keywords(PresetKeywords, options)
    stride = preset.snippet_stride or SNIPPET_STRIDE[preset.preset]
    settings = from_keywords(EvaluateSettings, options, **paths, snippet_stride=stride)
    table, outcome = evaluate(
        replace(settings, train=_with_preset(settings.train, preset.preset, options))
    )
    failures = {str(run): message for run, message in outcome.failures}
    if table is None:
        return CrossValidation(folder=Path(output), rows=[], failures=failures)
    return CrossValidation(
        folder=Path(output),
        rows=list(csv_files.DictReader(table.as_csv().splitlines())),
        failures=failures,
        text=table.as_text(),
        markdown=table.as_markdown(),
    )


@takes(NewVideoOptions, without=("shard",))
def score_videos(
    run: str | Path,
    videos: Paths = (),
    *,
    also: Paths = (),
    ensemble: bool = False,
    variant: str | None = None,
    output: str | Path | None = None,
    csv: str | Path | None = None,
    json: str | Path | None = None,
    **options: Any,
) -> Scored:
    """Score videos with a trained run, flow and features included: `score`.

    Parameters
    ----------
    run : path
        A run folder; with `ensemble` a folder of runs.
    videos : path or sequence of paths
        Folders, files, ``@list.txt`` or a CSV with a column ``video``; none scores all caches
        in the folder `features`, for instance of `import_arrays`.
    also : path or sequence of paths
        More runs to average with.
    ensemble : bool
        Average all runs found in `run`.
    variant : str, optional
        Average the runs of this variant only.
    output : path, optional
        Folder for scores.csv and scores.json; flow and features are kept in its ``cache/``.
    csv, json : path, optional
        Files to write instead.
    **options
        Flags of the command.

    Raises
    ------
    InputError
        A run or options that cannot be used.
    """
    from pipeline.score.output import claim, lines, records, write_results

    settings = from_keywords(NewVideoOptions, options)
    if settings.cache is None and output is not None:
        settings = replace(settings, cache=Path(output) / CACHE)
    check_run(Path(run), "score")
    targets = claim(*(None if path is None else Path(path) for path in (output, csv, json)))
    paths = _paths(videos)
    result = score(
        run,
        without_films(find_sources(paths, settings.exclude)) if paths else [],
        settings,
        also=_paths(also),
        ensemble=ensemble or variant is not None,
        variant=variant,
    )
    write_results(result, Path(run), *targets)
    text = "".join(f"{line}\n" for line in lines(result)) if result.outcome.results else ""
    return Scored(rows=records(result), failures=_failures(result.outcome), text=text)


@takes(ExplainOptions, NewVideoOptions, without=("shard",))
def explain_videos(
    run: str | Path, videos: Paths, output: str | Path, **options: Any
) -> Explanations:
    """Draw where in the frame a trained run looked: `explain`.

    Parameters
    ----------
    run : path
        A run folder.
    videos : path or sequence of paths
        As for `score_videos`.
    output : path
        Folder for a contact sheet (PNG) and a film (mp4) of each video.
    **options
        Flags of the command.

    Raises
    ------
    InputError
        A run without attention over the frame, or options that cannot be used.
    """
    settings = from_keywords(NewVideoOptions, options)
    check_run(Path(run), "explain")
    sources = without_films(find_sources(_paths(videos), settings.exclude))
    outcome = explain(run, sources, output, settings, from_keywords(ExplainOptions, options))
    return Explanations(
        folder=Path(output),
        sheets={source.key: drawn.sheet for source, drawn in outcome.results},
        films={source.key: drawn.film for source, drawn in outcome.results if drawn.film},
        failures=_failures(outcome),
    )


@takes(ReportSettings, JobOptions, without=("shard",))
def write_report(
    run: str | Path, output: str | Path, *, overwrite: bool = False, **options: Any
) -> Path:
    """Write one self-contained HTML page about a run and return its path: `report`.

    Parameters
    ----------
    run : path
        A run folder.
    output : path
        The page to write.
    overwrite : bool
        Replace an existing page.
    **options
        Flags of the command.

    Raises
    ------
    InputError
        A run or options that cannot be used.
    """
    settings = from_keywords(ReportSettings, options)
    jobs = from_keywords(JobOptions, options)
    return write_page(run, output, settings, jobs=jobs, overwrite=overwrite)


@takes(InspectOptions)
def describe(paths: Paths, **options: Any) -> list[dict[str, Any]]:
    """Return what is in videos, caches, folders, runs and judgements, as `inspect --json` does.

    Parameters
    ----------
    paths : path or sequence of paths
    **options
        Flags of the command.

    Raises
    ------
    InputError
        A path that does not exist, or options that cannot be used.
    """
    reports = inspect(_paths(paths), from_keywords(InspectOptions, options))
    return [report.as_json() for report in reports]


@takes(DemoOptions, StageOptions, without=("dry_run", "shard", "strict"))
def run_demo(output: str | Path, **options: Any) -> DemoResult:
    """Run everything end to end on a synthetic set: `demo`.

    Parameters
    ----------
    output : path
        Gets videos, caches, a run, tables, pictures and a page.
    **options
        Flags of the command.

    Raises
    ------
    InputError
        Options that cannot be used, or results of other options in the folder.
    """
    stage = from_keywords(StageOptions, options, output=Path(output))
    return demo(from_keywords(DemoOptions, options), stage)


def _paths(given: Paths) -> list[str]:
    """Return one path, or several, as a command's arguments."""
    return [str(path) for path in ([given] if isinstance(given, str | Path) else given)]


def _failures(outcome: Outcome[Source, Any]) -> dict[str, str]:
    return {source.key: message for source, message in outcome.failures}


def _with_preset(train: TrainOptions, preset: Any, options: Mapping[str, Any]) -> TrainOptions:
    return apply_preset(train, preset, explicit_fields(TrainOptions, options))

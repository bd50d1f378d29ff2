"""Cross-validate rankers, and set them beside baselines and published numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import click

from data.annotations.options import DatasetOptions
from data.errors import InputError
from model.ranker.options import (
    PRESETS,
    SNIPPET_STRIDE,
    RankerOptions,
    TrainOptions,
    Variant,
    apply_preset,
)
from pipeline.console import emit, format_bytes, log
from pipeline.evaluation_options import EvaluateOptions
from pipeline.jobs import JobOptions, finish, run_jobs, take_shard
from pipeline.options import build, common_options, dataclass_options

if TYPE_CHECKING:
    from data.annotations.dataset import Dataset
    from pipeline.evaluation_runs import CrossValidation, Run
    from pipeline.evaluation_table import Table
    from pipeline.jobs import Outcome

VARIANTS: tuple[str, ...] = get_args(Variant)
# The variant is asked for by `EvaluateOptions`, which takes several.
RankerSizes = dataclasses.make_dataclass(
    "RankerSizes",
    [
        (
            each.name,
            get_type_hints(RankerOptions)[each.name],
            dataclasses.field(default=each.default, metadata=each.metadata),
        )
        for each in dataclasses.fields(RankerOptions)
        if each.name != "variant"
    ],
    frozen=True,
)
_PROTOCOLS = {
    "validation": "epoch chosen on a validation share of the training videos",
    "last": "last epoch",
    "authors": "AUTHORS' PROTOCOL: epoch chosen on the test pairs, so these accuracies flatter",
}


@dataclass(frozen=True)
class Evaluation:
    """A cross-validation that is to be done, or is done.

    Attributes
    ----------
    dataset : Dataset
        As read, by the annotation's names.
    plan : CrossValidation
        The same by cache keys, with all that runs share.
    scores : dict of str to float, or None
        The annotation's scores by cache key.
    options : EvaluateOptions
    runs : tuple of Run
        All runs, by variant, fold and seed.
    done : frozenset of Run
        Those that are there already.
    skipped : str
        What was left out for want of features; empty where nothing was.
    """

    dataset: Dataset
    plan: CrossValidation
    scores: dict[str, float] | None
    options: EvaluateOptions
    runs: tuple[Run, ...]
    done: frozenset[Run]
    skipped: str = ""


def evaluate(
    features: str | Path,
    pairs: str | Path,
    output: str | Path,
    *,
    dataset: DatasetOptions | None = None,
    ranker: RankerOptions | None = None,
    train: TrainOptions | None = None,
    options: EvaluateOptions | None = None,
    jobs: JobOptions | None = None,
    snippet_stride: int = 1,
    device: str = "cpu",
    seed: int = 0,
    flow: Path | None = None,
    videos: Path | None = None,
    boxes: Path | None = None,
    scores: Path | None = None,
    overwrite: bool = False,
) -> tuple[Table | None, Outcome[Run, None]]:
    """Cross-validate variants over all folds and several seeds, and write the tables.

    Parameters
    ----------
    features, pairs : path
        Feature caches; a data set's folder, or a table of judgements.
    output : path
        Gets ``table.txt``, ``.csv``, ``.md``, ``.tex``, ``results.json``, ``baselines.csv`` and
        ``runs/*.json``, one for each finished run, which are not done again.
    flow, videos : path, optional
        Flow caches and videos, for the baselines mean flow and brightness.
    boxes : path, optional
        CSV ``video,frame,x0,y0,x1,y1`` in [0, 1]: where attention should be.
    scores : path, optional
        CSV ``video,score``, for rank correlations where the judgements are pairs.

    Returns
    -------
    table : Table or None
        None where runs failed or are other shards' and the table would have holes.
    outcome : Outcome
        What became of each run that was to be done.

    Raises
    ------
    InputError
        Anything that cannot be used, before any training.
    """
    found = plan_evaluation(
        Path(features),
        Path(pairs),
        Path(output),
        dataset or DatasetOptions(),
        ranker or RankerOptions(),
        train or TrainOptions(),
        options or EvaluateOptions(),
        snippet_stride,
        device,
        seed,
        boxes,
        scores,
        overwrite,
    )
    return carry_out_evaluation(found, jobs or JobOptions(jobs=1), flow, videos)


def plan_evaluation(
    features: Path,
    pairs: Path,
    output: Path,
    dataset_options: DatasetOptions,
    ranker: RankerOptions,
    train: TrainOptions,
    options: EvaluateOptions,
    snippet_stride: int,
    device: str,
    seed: int,
    boxes: Path | None,
    scores: Path | None,
    overwrite: bool,
) -> Evaluation:
    """Read judgements, find features, and tell which runs remain; nothing is trained or written.

    Raises
    ------
    InputError
        Anything that cannot be used.
    """
    from data.annotations.reading import read_with_options
    from data.annotations.table import read_scores
    from data.cache import find_caches
    from pipeline.evaluation_runs import CrossValidation, Run, finished

    variants = _variants(options.variants)
    dataset = read_with_options(pairs, dataset_options)
    if scores is not None:
        dataset = dataclasses.replace(dataset, scores=read_scores(scores))
    keys = find_caches(features, "features")
    if not keys:
        raise InputError(f"{features}: no feature caches; run extract-features first")
    judged = {name for pair in dataset.pairs for name in (pair.better, pair.worse)}
    names = dataset.match(keys)
    unknown = sorted(judged & set(names.unknown))
    if unknown and options.missing == "error":
        raise InputError(
            f"{names.complaint(str(features))}; run extract-features on them, or leave their "
            "pairs out with --missing skip"
        )
    splits = _by_key(dataset, names.keys)
    used = sorted({name for split in splits for name in split.train_videos | split.held_out})
    groups = {names.keys[n]: g for n, g in (dataset.groups or {}).items() if n in names.keys}
    plan = CrossValidation(
        features,
        output,
        tuple(used),
        _features_digest(features, used, ranker, variants, snippet_stride),
        splits,
        groups if set(used) <= groups.keys() else None,
        ranker,
        train,
        snippet_stride,
        device,
        read_boxes(boxes, used) if boxes else None,
    )
    runs = tuple(
        Run(variant, fold, seed + number)
        for variant in variants
        for fold in range(len(splits))
        for number in range(options.seeds)
    )
    truth = {names.keys[n]: s for n, s in (dataset.scores or {}).items() if n in names.keys}
    lost = sum({pair.better, pair.worse} & set(unknown) != set() for pair in dataset.pairs)
    skipped = (
        f"{len(unknown)} videos without features and their {lost} pairs were left out, e.g. "
        f"{', '.join(unknown[:3])}"
    )
    return Evaluation(
        dataset,
        plan,
        truth if dataset.scores else None,
        dataclasses.replace(options, variants=variants),
        runs,
        frozenset(finished(plan, runs, overwrite)),
        skipped if unknown else "",
    )


def _variants(asked: Sequence[str]) -> tuple[str, ...]:
    names = VARIANTS if "all" in asked else tuple(dict.fromkeys(asked))
    if not names:
        return ("full",)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise InputError(f"no variant '{unknown[0]}': choose from all, {', '.join(VARIANTS)}")
    return names


def _by_key(dataset: Dataset, keys: Mapping[str, str]) -> tuple[Any, ...]:
    """Return the folds by cache key, without pairs of videos that have none."""
    from data.pairs import Pair
    from data.splits import Split

    def renamed(pairs: Sequence[Pair]) -> list[Pair]:
        return [
            Pair(keys[p.better], keys[p.worse])
            for p in pairs
            if p.better in keys and p.worse in keys
        ]

    splits = tuple(Split(renamed(f.train), renamed(f.test), f.name) for f in dataset.folds)
    for split in splits:
        if not split.train or not split.test:
            raise InputError(
                f"{dataset.name}: fold {split.name} has {len(split.train)} training and "
                f"{len(split.test)} test pairs of videos with features: too few to evaluate"
            )
    return splits


def _features_digest(
    folder: Path, keys: Sequence[str], ranker: RankerOptions, variants: Sequence[str], stride: int
) -> str:
    """Return one digest of all caches; they must be alike and have what the variants need."""
    import hashlib

    from model.ranker.variants import NEED_STREAMS
    from pipeline.feature_set import find_feature_set

    digests: tuple[str, ...] = ()
    for streams in sorted({variant in NEED_STREAMS for variant in variants}):
        found = find_feature_set(
            folder, keys, ranker.segments, streams=streams, snippet_stride=stride
        )
        digests = found.digests
        log.info(
            "%d videos, %s of %s maps a worker",
            len(keys),
            format_bytes(found.bytes),
            "stream" if streams else "fused",
        )
    return hashlib.sha256(" ".join([*keys, *digests]).encode()).hexdigest()[:16]


def read_boxes(path: Path, keys: Sequence[str]) -> dict[str, dict[int, tuple[float, ...]]]:
    """Read where each video's tool is: CSV ``video,frame,x0,y0,x1,y1``, shares of the frame.

    Boxes of videos that are not judged, and empty boxes, are left out.

    Raises
    ------
    InputError
        Other columns, or a row that is not a video, a frame number and four numbers.
    """
    from data.pairs import read_rows
    from data.sources import match_names

    header = ("video", "frame", "x0", "y0", "x1", "y1")
    rows = read_rows(path)
    if not rows or rows[0].cells != header:
        raise InputError(f"{path}: expected the columns '{','.join(header)}'")
    boxes: dict[str, dict[int, tuple[float, ...]]] = {}
    for row in rows[1:]:
        try:
            video, frame, *sides = row.cells
            left, top, right, bottom = (min(max(float(side), 0.0), 1.0) for side in sides)
            number = int(frame)
        except ValueError as error:
            raise InputError(
                f"{path}, line {row.line}: expected a video, a frame number and four "
                f"numbers, found '{','.join(row.cells)}'"
            ) from error
        if left < right and top < bottom:
            boxes.setdefault(video, {})[number] = (left, top, right, bottom)
    try:
        found = match_names([*boxes], [*keys])
    except InputError:  # some of the boxes' videos are not judged: match those that are
        stems = {Path(key).name: key for key in keys} | {Path(key).stem: key for key in keys}
        found = {
            name: name if name in keys else stems[Path(name).name]
            for name in boxes
            if name in keys or Path(name).name in stems
        }
    if not found:
        raise InputError(f"{path}: none of its {len(boxes)} videos is judged")
    return {found[name]: frames for name, frames in boxes.items() if name in found}


def carry_out_evaluation(
    found: Evaluation, jobs: JobOptions, flow: Path | None, videos: Path | None
) -> tuple[Table | None, Outcome[Run, None]]:
    """Train what remains, then write the tables where all runs are there."""
    from pipeline.evaluation_runs import RUN_FOLDER, carry_out

    if found.skipped:
        log.warning("%s", found.skipped)
    (found.plan.output / RUN_FOLDER).mkdir(parents=True, exist_ok=True)
    remaining = [run for run in take_shard(found.runs, jobs.shard) if run not in found.done]
    log.info("%d runs, %d of them done already", len(found.runs), len(found.done))
    outcome = run_jobs(
        partial(carry_out, found.plan),
        remaining,
        dataclasses.replace(jobs, shard=None),
        desc="evaluate",
        unit="run",
    )
    present = [(found.plan.output / RUN_FOLDER / run.file_name).is_file() for run in found.runs]
    if outcome.failures or not all(present):
        log.warning(
            "%d of %d runs are there: the tables are written when all are",
            sum(present),
            len(found.runs),
        )
        return None, outcome
    return _tabulate(found, jobs, flow, videos), outcome


def _tabulate(found: Evaluation, jobs: JobOptions, flow: Path | None, videos: Path | None) -> Table:
    """Turn finished runs into tables, and write them."""
    from pipeline import evaluation_report as report
    from pipeline.baselines import baseline_scores
    from pipeline.evaluation_runs import read_result
    from pipeline.evaluation_table import Table
    from pipeline.published import notes

    plan, options = found.plan, found.options
    results = {
        variant: [read_result(plan, run) for run in found.runs if run.variant == variant]
        for variant in options.variants
    }
    scored = {
        variant: _folded([run["scores"] for run in runs], options.seeds)
        for variant, runs in results.items()
    }
    reference = options.variants[0]
    clusters = plan.groups if found.dataset.folds_keep_groups else None
    rows = []
    for variant in options.variants:
        change = None
        if variant != reference:
            change = report.compare(
                plan.splits, scored[variant], scored[reference], clusters, options.draws
            )
        rows.append(
            report.variant_row(
                variant, plan.splits, scored[variant], found.scores, found.dataset.known, change
            )
        )
    measured, left_out = baseline_scores(
        plan.features,
        plan.keys,
        flow=flow,
        videos=videos,
        jobs=dataclasses.replace(jobs, shard=None),
    )
    rows += [
        report.baseline_row(name, values, plan.splits, found.scores)
        for name, values in measured.items()
    ]
    rows += report.fixed_rows([pair for split in plan.splits for pair in split.test])
    said = [
        f"protocol: {_PROTOCOLS[plan.train.protocol]}",
        "±: standard error over fold means"
        if len(plan.splits) > 1
        else "±: standard error over seeds (one fold)",
        "a baseline's direction is chosen on each fold's training pairs",
        *(
            [
                f"[95 %]: bootstrap over {'groups of videos' if clusters else 'videos'} and seeds, "
                f"{options.draws} draws, folds and trained models as they are"
            ]
            if len(options.variants) > 1
            else []
        ),
        *([found.skipped] if found.skipped else []),
        *left_out,
        *report.attention_lines(results),
        *notes(found.dataset.known),
    ]
    table = Table(_title(found), reference, tuple(rows), tuple(said))
    _write(table, found, results, measured)
    return table


def _folded(scores: list[dict[str, float]], seeds: int) -> list[list[dict[str, float]]]:
    return [scores[i : i + seeds] for i in range(0, len(scores), seeds)]


def _title(found: Evaluation) -> str:
    tested = sum(len(split.test) for split in found.plan.splits)
    return (
        f"{found.dataset.name}: {len(found.plan.keys)} videos, {tested} tests of pairs, "
        f"{len(found.plan.splits)} folds ({found.dataset.folds_source}), "
        f"{found.options.seeds} seeds"
    )


def _write(
    table: Table,
    found: Evaluation,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    measured: Mapping[str, Mapping[str, float]],
) -> None:
    from pipeline.run_folder import csv_bytes, json_bytes, write_file

    output = found.plan.output
    files = {
        "table.txt": table.as_text(),
        "table.md": table.as_markdown(),
        "table.tex": table.as_latex(),
        "table.csv": table.as_csv(),
    }
    for name, text in files.items():
        write_file(output / name, (text.rstrip("\n") + "\n").encode())
    write_file(
        output / "results.json",
        json_bytes(
            {
                **table.as_json(),
                "protocol": _PROTOCOLS[found.plan.train.protocol],
                "runs": [
                    {k: v for k, v in run.items() if k != "settings"}
                    for runs in results.values()
                    for run in runs
                ],
            }
        ),
    )
    write_file(
        output / "baselines.csv",
        csv_bytes(
            [
                {"video": key} | {name: values[key] for name, values in measured.items()}
                for key in found.plan.keys
            ]
        ),
    )


EPILOG = """\b
Examples:
  pipeline evaluate --features features/ --pairs pairs.csv --folds 4 -o results/
  pipeline evaluate --features features/ --pairs EPIC-Skills2018/ --task surgery \\
      --preset surgery --variant full --variant no_att --variant raan -j 8 -o results/
  pipeline evaluate --features features/ --pairs pairs.csv --group-by '^([a-z]+)_' -o results/
"""


def _path(flag: str, text: str, required: bool = False) -> Any:
    return click.option(flag, type=click.Path(path_type=Path), required=required, help=text)


@click.command("evaluate", epilog=EPILOG)
@_path("--features", "Output of extract-features.", required=True)
@_path("--pairs", "A data set's folder, or a CSV: better,worse or video,score.", required=True)
@_path("--flow", "Flow caches, for the baseline mean flow.")
@_path("--videos", "The videos, for the baseline brightness.")
@_path("--boxes", "CSV video,frame,x0,y0,x1,y1 in [0, 1]: measure attention against these boxes.")
@_path("--scores", "CSV video,score: rank correlations with these scores.")
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="small",
    show_default=True,
    help="Training as in the authors' code for a data set; given flags go before it.",
)
@click.option(
    "--snippet-stride",
    type=click.IntRange(1),
    default=None,
    help="Use snippets at least so many frames apart; the preset's when not given.",
)
@dataclass_options(EvaluateOptions)
@dataclass_options(DatasetOptions)
@dataclass_options(RankerSizes)
@dataclass_options(TrainOptions)
@common_options("output", "jobs", "device", "overwrite", "dry_run", "seed")
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Cross-validate rankers over folds and seeds, beside baselines and published numbers.

    Finished runs are kept in OUTPUT/runs and not done again, so that an interrupted evaluation
    goes on, and seeds and variants can be added.
    """
    from pipeline.train_ranker import explicit_flags

    sizes = dataclasses.asdict(build(RankerSizes, params))
    try:
        ranker = RankerOptions(**sizes)
    except ValueError as error:
        raise InputError(str(error)) from error
    found = plan_evaluation(
        params["features"],
        params["pairs"],
        params["output"],
        build(DatasetOptions, params),
        ranker,
        apply_preset(build(TrainOptions, params), params["preset"], explicit_flags(ctx)),
        build(EvaluateOptions, params),
        params["snippet_stride"] or SNIPPET_STRIDE[params["preset"]],
        params["device"],
        params["seed"],
        params["boxes"],
        params["scores"],
        params["overwrite"],
    )
    _emit_dataset(found)
    if params["dry_run"]:
        emit(
            f"would train {len(found.runs) - len(found.done)} of {len(found.runs)} runs and "
            f"write to {found.plan.output}"
        )
        return
    jobs = JobOptions(params["jobs"], params["backend"], params["scheduler"], params["shard"])
    table, outcome = carry_out_evaluation(found, jobs, params["flow"], params["videos"])
    if table is not None:
        emit(table.as_text())
    ctx.exit(finish(outcome))


def _emit_dataset(found: Evaluation) -> None:
    from pipeline.evaluation_report import describe

    for line in describe(found.dataset):
        log.info("%s", line)

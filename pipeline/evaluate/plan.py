"""What a cross-validation will do: judgements matched with features, folds, remaining runs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from data.cache.features import open_features
from data.cache.folder import cache_path, find_caches
from data.errors import InputError
from data.judgements.dataset import Dataset, Matching, Span
from data.judgements.options import DatasetOptions
from data.judgements.pairs import Pair
from data.judgements.reading import read_with_options
from data.judgements.rows import read_rows
from data.judgements.splits import Split
from data.judgements.table import read_scores
from model.ranker.build import NEED_STREAMS
from model.ranker.options import RankerOptions, TrainOptions, Variant
from pipeline.evaluate.keep import outdated
from pipeline.evaluate.options import BOX_COLUMNS, Box, EvaluateOptions
from pipeline.evaluate.runs import CrossValidation, Run, finished
from pipeline.runs.judgements import JudgementOptions, report_faults, spans_by_key
from pipeline.runs.maps import find_feature_set
from pipeline.runs.spans import within_spans
from pipeline.shell.console import log
from pipeline.shell.words import format_bytes
from pipeline.train_ranker.plan import warn_of_repeats

VARIANTS: tuple[str, ...] = get_args(Variant)


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
        What was left out for want of features or stream maps; empty where nothing was.
    replaced : tuple of Run
        Other runs in the folder, of an earlier evaluation that is overwritten.
    """

    dataset: Dataset
    plan: CrossValidation
    scores: dict[str, float] | None
    options: EvaluateOptions
    runs: tuple[Run, ...]
    done: frozenset[Run]
    skipped: str = ""
    replaced: tuple[Run, ...] = ()


def plan_evaluation(
    features: Path,
    pairs: Path,
    output: Path,
    dataset_options: DatasetOptions,
    ranker: RankerOptions,
    train: TrainOptions,
    options: EvaluateOptions,
    judgements: JudgementOptions,
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
    if seed < 0:
        raise InputError(f"--seed must not be negative, got {seed}")
    if train.protocol == "validation" and not train.validation_share:
        train = dataclasses.replace(train, protocol="last")
    variants = _variants(options.variants)
    dataset = read_with_options(pairs, dataset_options)
    keys = find_caches(features, "features")
    if not keys:
        raise InputError(f"{features}: no feature caches; run extract-features first")
    judged = {name for pair in dataset.pairs for name in (pair.better, pair.worse)}
    names = _matched(pairs, dataset, keys)
    unknown = sorted(judged & set(names.unknown))
    if unknown and judgements.missing == "error":
        raise InputError(
            f"{pairs}: {len(unknown)} of {len(judged)} videos have no feature cache, e.g. "
            f"{', '.join(unknown[:3])}; mend the names, run extract-features on them, or leave "
            "their pairs out with --missing skip"
        )
    report_faults(dataset.pairs, judgements.strict, "pairs")
    splits = _by_key(dataset, names.keys)
    used = sorted({name for split in splits for name in split.train_videos | split.held_out})
    variants, left_out = _without_streams(variants, options.variants, features, used[0])
    groups = {names.keys[n]: g for n, g in (dataset.groups or {}).items() if n in names.keys}
    spans = spans_by_key(dataset, names.keys)
    plan = CrossValidation(
        features,
        output,
        tuple(used),
        _features_digest(features, used, ranker, variants, snippet_stride, spans),
        splits,
        groups if set(used) <= groups.keys() else None,
        ranker,
        train,
        snippet_stride,
        device,
        read_boxes(boxes, used) if boxes else None,
        spans,
        options.keep_rankers,
    )
    runs = tuple(
        Run(variant, fold, seed + number)
        for variant in variants
        for fold in range(len(splits))
        for number in range(options.seeds)
    )
    return Evaluation(
        dataset,
        plan,
        _scores_by_key(dataset, names.keys, keys, scores),
        dataclasses.replace(options, variants=variants),
        runs,
        frozenset(finished(plan, runs, overwrite)),
        "; ".join([*_lost_pairs(dataset, unknown), *left_out]),
        outdated(plan, runs) if overwrite else (),
    )


def _scores_by_key(
    dataset: Dataset, known: Mapping[str, str], keys: Collection[str], path: Path | None
) -> dict[str, float] | None:
    """Return scores by cache key: those of a file, else the annotation's, else none.

    The file's names need not be spelt as the annotation's are.
    """
    scores = dataset.scores
    if path is not None:
        scores = read_scores(path)
        known = _matched(path, Dataset(path.stem, [], [], scores), keys).keys
        if not known:
            raise InputError(f"{path}: none of its {len(scores)} videos has a feature cache")
    if scores is None:
        return None
    return {known[name]: score for name, score in scores.items() if name in known}


def _matched(path: Path, dataset: Dataset, keys: Collection[str]) -> Matching:
    """Match a file's names with keys; an error names the file."""
    try:
        return dataset.match(keys)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _lost_pairs(dataset: Dataset, unknown: Sequence[str]) -> list[str]:
    """Say how many pairs are left out for want of features."""
    if not unknown:
        return []
    lost = sum({pair.better, pair.worse} & set(unknown) != set() for pair in dataset.pairs)
    return [
        f"{len(unknown)} videos without features and their {lost} pairs were left out, e.g. "
        f"{', '.join(unknown[:3])}"
    ]


def _without_streams(
    variants: tuple[str, ...], asked: Sequence[str], features: Path, key: str
) -> tuple[tuple[str, ...], list[str]]:
    """Leave out of `all` what needs stream maps where the caches have none, and say so.

    A variant that is asked for by its name stays, and is refused later.
    """
    wanting = [name for name in variants if name in NEED_STREAMS and name not in asked]
    if not wanting:
        return variants, []
    with open_features(cache_path(features, key)) as cache:
        if cache.has_streams:
            return variants, []
    kept = tuple(name for name in variants if name not in wanting)
    return kept, [
        f"{', '.join(wanting)} left out: the features hold no stream maps (extract-features "
        "--keep-streams)"
    ]


def _variants(asked: Sequence[str]) -> tuple[str, ...]:
    each = (name for one in asked for name in (VARIANTS if one == "all" else (one,)))
    names = tuple(dict.fromkeys(each))
    if not names:
        return ("full",)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise InputError(f"no variant '{unknown[0]}': choose from all, {', '.join(VARIANTS)}")
    return names


def _by_key(dataset: Dataset, keys: Mapping[str, str]) -> tuple[Split, ...]:
    """Return the folds by cache key, without pairs of videos that have none."""

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
    folder: Path,
    keys: Sequence[str],
    ranker: RankerOptions,
    variants: Sequence[str],
    stride: int,
    spans: Mapping[str, Span],
) -> str:
    """Return one digest of all caches; they must be alike and have what the variants need."""
    digests: tuple[str, ...] = ()
    for streams in sorted({variant in NEED_STREAMS for variant in variants}):
        found = find_feature_set(
            folder, keys, ranker.segments, streams=streams, snippet_stride=stride
        )
        found = within_spans(found, spans, ranker.segments)
        if not digests:
            warn_of_repeats(found, ranker.segments)
        digests = found.digests
        log.info(
            "%d videos, %s of %s maps a worker",
            len(keys),
            format_bytes(found.bytes),
            "stream" if streams else "fused",
        )
        if found.parts and not streams:
            log.info(
                "only the judged part of the file is used of %d of %d videos",
                len(found.parts),
                len(keys),
            )
    return hashlib.sha256(" ".join([*keys, *digests]).encode()).hexdigest()[:16]


def read_boxes(path: Path, keys: Sequence[str]) -> dict[str, dict[int, Box]]:
    """Read where each video's tool is: CSV ``video,frame,x0,y0,x1,y1``, shares of the frame.

    Boxes of videos that are not judged, and empty boxes, are left out.

    Raises
    ------
    InputError
        Other columns, or a row that is not a video, a frame number and four numbers.
    """
    rows = read_rows(path)
    if not rows or rows[0].cells != BOX_COLUMNS:
        raise InputError(f"{path}: expected the columns '{','.join(BOX_COLUMNS)}'")
    boxes: dict[str, dict[int, Box]] = {}
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
    # Names stand for keys as those of judgements do.
    found = _matched(path, Dataset(path.stem, [], [], dict.fromkeys(boxes, 0.0)), keys).keys
    if not found:
        raise InputError(f"{path}: none of its {len(boxes)} videos is judged")
    return {found[name]: frames for name, frames in boxes.items() if name in found}

"""What a cross-validation will do: judgements matched with features, folds, runs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from data.cache.folder import find_caches, no_features
from data.cache.header import canonical_json
from data.errors import InputError
from data.judgements.agreement import Agreement
from data.judgements.boxes import Box, read_boxes
from data.judgements.dataset import Dataset, Span
from data.judgements.pairs import Pair, read_scores
from data.judgements.reading import read_dataset
from data.judgements.splits import Split
from model.ranker.build import NEED_STREAMS
from model.ranker.options import RankerOptions, Variant, recorded_ranker
from pipeline.evaluate.features import feature_sets, features_digest, fitting_variants
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.runs.cache_keys import by_key, known_keys, rename_pairs, videos_without_cache
from pipeline.runs.choice import check_choice, ties_among
from pipeline.runs.features import FeatureSet
from pipeline.runs.judgements import known_agreement, report_faults
from pipeline.runs.same_videos import SameVideos
from pipeline.train_ranker.plan import fitting_batch, memory_needed

SCHEMA = 3  # 3: attention is measured at the centre of a cell's receptive field
VARIANTS: tuple[str, ...] = get_args(Variant)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One variant on one fold with one seed."""

    variant: str
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its result's file without ``.json``, and of the folder of its ranker."""
        return f"{self.variant}-fold{self.fold + 1}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.variant}, fold {self.fold + 1}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """A cross-validation to carry out; all videos are named by cache key, except in `dataset`.

    Attributes
    ----------
    settings : EvaluateSettings
    dataset : Dataset
        As read, with the annotation's names.
    variants : tuple of str
    keys : tuple of str
        Judged videos.
    features : dict of bool to FeatureSet
        Their fused snippets under False; stream maps under True where a variant needs them.
    splits : tuple of Split
        Folds.
    groups : dict of str to str, or None
        Subject of each video, for the validation share.
    spans : dict of str to Span
        Judged parts of videos of which not all was judged.
    boxes : dict, or None
        For each key the boxes of its frames.
    scores : dict of str to float, or None
        Given scores, for rank correlations.
    tasks : dict of str to str
        Task of each video of a merged set; empty for a single task.
    tied : tuple of Pair
        Undecided comparisons.
    agreement : Agreement or None
        Of the judges.
    skipped : str
        What is left out because features or stream maps are missing; empty where nothing is.
    """

    settings: EvaluateSettings
    dataset: Dataset
    variants: tuple[str, ...]
    keys: tuple[str, ...]
    features: Mapping[bool, FeatureSet]
    splits: tuple[Split, ...]
    groups: Mapping[str, str] | None
    spans: Mapping[str, Span]
    boxes: Mapping[str, Mapping[int, Box]] | None
    scores: Mapping[str, float] | None
    tasks: Mapping[str, str]
    tied: tuple[Pair, ...]
    agreement: Agreement | None
    skipped: str

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs, by variant, fold and seed."""
        first = self.settings.seed
        return tuple(
            Run(variant=variant, fold=fold, seed=seed)
            for variant in self.variants
            for fold in range(len(self.splits))
            for seed in range(first, first + self.settings.options.seeds)
        )

    @property
    def results(self) -> Path:
        """Folder of the results of runs."""
        return self.settings.output / "runs"

    @property
    def clusters(self) -> Mapping[str, str] | None:
        """Group of each video where folds keep groups together."""
        return self.groups if self.dataset.folds_keep_groups else None

    def ranker(self, run: Run) -> RankerOptions:
        """Return the options of a run's ranker."""
        return replace(self.settings.ranker, variant=run.variant)  # type: ignore[arg-type]

    def record(self, run: Run) -> dict[str, Any]:
        """Return everything that decides a run's result, as JSON."""
        settings = self.settings
        return {
            "schema": SCHEMA,
            "seed": run.seed,
            "ranker": recorded_ranker(self.ranker(run)),
            "train": asdict(settings.train),
            "snippet stride": settings.snippet_stride,
            "features": self.digest,
            **self._digests_of_folds[run.fold],
            **self._digests,
        }

    @cached_property
    def digest(self) -> str:
        """Of the content of all caches."""
        return features_digest(self.features[False])

    # Computed once: boxes and pairs are long, and records of all runs are compared three times.
    @cached_property
    def _digests(self) -> dict[str, str]:
        """What decides every run alike, for its record."""
        return {
            "groups": _digest(self.groups or None),
            "judged parts": _digest({key: asdict(span) for key, span in self.spans.items()}),
            "boxes": _digest(self.boxes or None),
        }

    @cached_property
    def _digests_of_folds(self) -> list[dict[str, Any]]:
        """What decides the runs of each fold, for their records."""
        ties, records = self.settings.judgements.ties, []
        for split in self.splits:
            used = ties_among(self.tied, split.train, ties)
            records.append(
                {
                    "training pairs": _digest_pairs(split.train),
                    "test pairs": _digest_pairs(split.test),
                    **({"ties": [ties, _digest_pairs(used)]} if used else {}),
                }
            )
        return records


def _digest_pairs(pairs: Sequence[Pair]) -> str:
    return _digest([[pair.better, pair.worse] for pair in pairs])


def _digest(content: object) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def plan_evaluation(settings: EvaluateSettings) -> EvaluationPlan:
    """Read judgements and find their features; nothing is trained or written.

    Raises
    ------
    InputError
        Anything that cannot be used.
    """
    if settings.seed < 0:
        raise InputError(f"--seed must not be negative, got {settings.seed}")
    train = settings.train
    check_choice(train)
    if train.protocol == "validation" and not train.validation_share:
        settings = replace(settings, train=replace(train, protocol="last"))
    named = _variants(settings.options.variants)
    caches = find_caches(settings.features, "features")
    same = SameVideos(settings.features, caches)
    dataset = read_dataset(settings.pairs, settings.dataset, same=same.labels)
    if not caches:
        raise no_features(settings.features)
    known = known_keys(settings.pairs, dataset, caches, settings.judgements.ties)
    lost_pairs = _lost_pairs(settings, dataset, known)
    report_faults(dataset.pairs, settings.judgements.strict, "pairs")
    splits = _by_key(dataset, known)
    same.report(splits)
    keys = sorted({name for split in splits for name in split.train_videos | split.held_out})
    variants, lost_variants = fitting_variants(named, settings, keys[0])
    groups = by_key(dataset.groups or {}, known)
    spans = by_key(dataset.spans, known)
    boxes = settings.options.boxes
    return EvaluationPlan(
        settings=settings,
        dataset=dataset,
        variants=variants,
        keys=tuple(keys),
        features=feature_sets(settings, keys, variants, spans),
        splits=splits,
        groups=groups if set(keys) <= groups.keys() else None,
        spans=spans,
        boxes=read_boxes(boxes, keys) if boxes else None,
        scores=_scores_by_key(dataset, known, caches, settings.options.scores),
        tasks=by_key(dataset.tasks, known),
        tied=tuple(rename_pairs(dataset.tied, known)),
        agreement=known_agreement(dataset),
        skipped="; ".join(filter(None, [lost_pairs, lost_variants])),
    )


def _lost_pairs(settings: EvaluateSettings, dataset: Dataset, known: Mapping[str, str]) -> str:
    """Refuse judged videos without features, or return in words what is left out with them."""
    missing = settings.judgements.missing
    unknown = videos_without_cache(settings.pairs, dataset.pairs, known, missing)
    if not unknown:
        return ""
    lost = len(dataset.pairs) - len(rename_pairs(dataset.pairs, known))
    return (
        f"{len(unknown)} videos without features and their {lost} pairs were left out, e.g. "
        f"{', '.join(unknown[:3])}"
    )


def _scores_by_key(
    dataset: Dataset, known: Mapping[str, str], keys: Collection[str], path: Path | None
) -> dict[str, float] | None:
    """Return scores by cache key: those of a file, else the annotation's, else none.

    The file may spell names differently from the annotation.
    """
    scores = dataset.scores
    if path is not None:
        scores = read_scores(path)
        known = known_keys(path, Dataset(path.stem, [], [], scores=scores), keys)
        if not known:
            raise InputError(f"{path}: none of its {len(scores)} videos has a feature cache")
    return None if scores is None else by_key(scores, known)


def _variants(asked: Sequence[str]) -> tuple[str, ...]:
    each = (name for one in asked for name in (VARIANTS if one == "all" else (one,)))
    names = tuple(dict.fromkeys(each))
    if not names:
        return ("full",)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise InputError(f"no variant '{unknown[0]}': choose from all, {', '.join(VARIANTS)}")
    return names


def _by_key(dataset: Dataset, known: Mapping[str, str]) -> tuple[Split, ...]:
    """Return the folds by cache key, without pairs of videos that have none."""
    splits = tuple(
        Split(rename_pairs(fold.train, known), rename_pairs(fold.test, known), fold.name)
        for fold in dataset.folds
    )
    for split in splits:
        if not split.train or not split.test:
            raise InputError(
                f"{dataset.name}: fold {split.name} has {len(split.train)} training and "
                f"{len(split.test)} test pairs of videos with features: too few to evaluate"
            )
    return splits


def memory_of_a_worker(plan: EvaluationPlan, runs: Sequence[Run]) -> int:
    """Return about how many bytes a worker takes for the largest of its runs."""
    settings, segments = plan.settings, plan.settings.ranker.segments
    need = 0
    for streams in {run.variant in NEED_STREAMS for run in runs}:
        features = plan.features[streams]
        for split in plan.splits:
            train = fitting_batch(settings.train, split.train, segments, features.shape)
            need = max(need, memory_needed(features, train, split.train, segments))
    return need

"""Baselines that learn from the training pairs of each fold, and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from data.cache.features import open_features
from data.errors import InputError
from data.judgements.splits import Split
from model.ranker.pooled import Pooling, fit_pooled
from pipeline.evaluate.baselines import LENGTH
from pipeline.evaluate.margins import MEMORY
from pipeline.evaluate.plan import EvaluationPlan
from pipeline.evaluate.statistics import Scored, training_sign
from pipeline.runner.jobs import JobOptions, run_jobs
from pipeline.runs.features import FeatureSet

POOLED, WITH_DURATION = "pooled", "pooled + duration"
# Below the distance of two win rates of a million pairs.
_HAIR = 1e-9


def score_baselines(
    plan: EvaluationPlan, measured: Mapping[str, Mapping[str, float]]
) -> tuple[dict[str, Scored], list[str]]:
    """Return the scores of all baselines, and a line for each that is left out.

    Parameters
    ----------
    measured : mapping
        A number of each video, by baseline. One that is the same for all videos is left out.
    """
    scored: dict[str, Scored] = {}
    left_out = []
    for name, values in measured.items():
        if len(set(values.values())) > 1:
            scored[name] = directed(values, plan.splits)
        else:
            left_out.append(f"baseline '{name}' left out: it is the same for all videos")
    scored[MEMORY] = memory(plan.splits, plan.keys)
    jobs = plan.settings.jobs
    maps = pool_videos(plan.features[False], jobs)
    scored[POOLED] = pooled(plan.splits, plan.keys, maps, None, plan.groups, jobs)
    if LENGTH in scored:
        lengths = measured[LENGTH]
        scored[WITH_DURATION] = pooled(plan.splits, plan.keys, maps, lengths, plan.groups, jobs)
    last = [name for name in measured if name in scored and name != LENGTH]
    return {name: scored[name] for name in [*(n for n in scored if n not in last), *last]}, left_out


def directed(values: Mapping[str, float], splits: Sequence[Split]) -> Scored:
    """Return a measured number as scores; its direction is chosen on each fold's training pairs."""
    signs = [training_sign(values, split.train) for split in splits]
    return [[{key: sign * value for key, value in values.items()}] for sign in signs]


def memory(splits: Sequence[Split], keys: Sequence[str]) -> Scored:
    """Return the scores of a judge who only remembers how often training videos were better.

    A training video has its win rate in the fold's training pairs, every other video the mean of
    these rates. Two unseen videos are a guess, so the unseen videos are scored twice, a hair apart,
    in one order and in the reverse one: a pair of them counts half, and such pairs give 50 %.
    """
    scored = []
    for split in splits:
        wins = Counter(pair.better for pair in split.train)
        pairs = wins + Counter(pair.worse for pair in split.train)
        rates = {name: wins[name] / count for name, count in pairs.items()}
        middle = sum(rates.values()) / len(rates)
        guesses = []
        for order in (1, -1):
            hairs = {key: order * _HAIR * i / len(keys) for i, key in enumerate(keys, 1)}
            guesses.append({key: rates.get(key, middle + hairs[key]) for key in keys})
        scored.append(guesses)
    return scored


def pooled(
    splits: Sequence[Split],
    keys: Sequence[str],
    features: np.ndarray,
    lengths: Mapping[str, float] | None = None,
    groups: Mapping[str, str] | None = None,
    jobs: JobOptions | None = None,
) -> Scored:
    """Return the scores of the regularised linear ranker on pooled maps, fitted to each fold.

    Regularisation, and how much length counts, are chosen by cross-validation over the fold's
    training videos.

    Parameters
    ----------
    keys : sequence of str
        Videos, one for each row of `features`, (V, F) float64.
    lengths : mapping of str to float, optional
        Seconds of each video, of which the logarithm is a further feature.
    groups : mapping of str to str, optional
        Subject of each video, for that cross-validation.
    jobs : JobOptions, optional
        Workers, each with a fold at a time; one by default.

    Raises
    ------
    InputError
        A fold cannot be fitted.
    """
    row = {key: number for number, key in enumerate(keys)}
    pairs = [np.array([(row[p.better], row[p.worse]) for p in split.train]) for split in splits]
    further = None if lengths is None else np.log([[lengths[key]] for key in keys])
    subjects = [groups[key] for key in keys] if groups else None
    fit = partial(_fit_fold, features, further, pairs, subjects)
    scores = _in_order(fit, len(splits), jobs or JobOptions(jobs=1), "pooled")
    return [[dict(zip(keys, each.tolist(), strict=True))] for each in scores]


def _fit_fold(
    features: np.ndarray,
    further: np.ndarray | None,
    pairs: Sequence[np.ndarray],
    subjects: Sequence[str] | None,
    fold: int,
) -> np.ndarray:
    ranker = fit_pooled(features, pairs[fold], further=further, groups=subjects)
    return ranker.score(features if further is None else np.hstack([features, further]))


def _in_order(
    function: Callable[[int], np.ndarray], count: int, jobs: JobOptions, name: str
) -> list[np.ndarray]:
    """Return the results of numbered jobs, in order."""
    outcome = run_jobs(function, range(count), replace(jobs, shard=None), desc=name)
    if outcome.failures:
        raise InputError(f"{name}: {outcome.failures[0][1]}")
    results = dict(outcome.results)
    return [results[number] for number in range(count)]


def pool_videos(features: FeatureSet, jobs: JobOptions) -> np.ndarray:
    """Return the statistics of each video's maps, (V, F) float64; one map is in memory at a time.

    Raises
    ------
    InputError
        A cache cannot be read.
    """
    count = len(features.keys)
    return np.stack(_in_order(partial(_pool_one, features), count, jobs, "pooled maps"))


def _pool_one(features: FeatureSet, number: int) -> np.ndarray:
    pooling = Pooling()
    with open_features(features.paths[number]) as cache:
        for row in features.rows[number].tolist():
            pooling.add(cache.read(row)[None])
    return pooling.features()

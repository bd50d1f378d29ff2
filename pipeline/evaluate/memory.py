"""How much memory the runs of a cross-validation take, from the headers of the caches."""

from __future__ import annotations

from collections.abc import Sequence

from model.ranker.build import NEED_STREAMS
from pipeline.evaluate.plan import EvaluationPlan, Run, features_of
from pipeline.train_ranker.plan import fitting_batch, memory_needed


def memory_of_a_worker(plan: EvaluationPlan, runs: Sequence[Run]) -> int:
    """Return about how many bytes a worker takes for the largest of its runs."""
    settings, segments = plan.settings, plan.settings.ranker.segments
    need = 0
    for streams in {run.variant in NEED_STREAMS for run in runs}:
        features = features_of(settings, plan.keys, plan.spans, streams=streams)
        for split in plan.splits:
            train = fitting_batch(settings.train, split.train, segments, features.shape)
            need = max(need, memory_needed(features, train, split.train, segments))
    return need

"""Training a ranker from pairs in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.judgements.dataset import Span
from data.judgements.pairs import Pair
from pipeline.runs.judgements import Judgements
from pipeline.train_ranker.output import TrainedRun
from pipeline.train_ranker.plan import plan_training
from pipeline.train_ranker.settings import TrainSettings
from pipeline.train_ranker.training import run_training


def train_ranker(
    features: Path,
    pairs: Sequence[Pair],
    output: Path,
    *,
    test_pairs: Sequence[Pair] = (),
    spans: Mapping[str, Span] | None = None,
    **settings: Any,
) -> TrainedRun:
    """Train on pairs that are named by cache key, and write a run folder."""
    judgements = Judgements(train=list(pairs), test=list(test_pairs), spans=spans or {})
    asked = settings_of(features, output, **settings)
    asked.check()
    return run_training(plan_training(asked, judgements))


def settings_of(features: Path, output: Path, **settings: Any) -> TrainSettings:
    """Return settings whose pairs are not read from a file."""
    unread = Path("pairs in memory")
    return TrainSettings(features=features, pairs=unread, output=output, device="cpu", **settings)

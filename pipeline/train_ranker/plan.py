"""What a run of train-ranker will do: checked and decided before any map is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from data.cache.header import canonical_json
from data.errors import InputError
from data.judgements.dataset import Span
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split
from model.ranker.build import NEED_STREAMS
from model.ranker.options import RankerOptions, TrainOptions
from pipeline.runs.judgements import report_faults
from pipeline.runs.maps import FeatureSet, find_feature_set
from pipeline.runs.spans import within_spans
from pipeline.runs.validation import choose_pairs
from pipeline.shell.console import log

# Where no batch size is given, all pairs make one step, up to so many bytes of maps.
STEP_BYTES = 4_000_000_000
FALLBACK_BATCH = 16
# Measured on one core for `full` (0.2 s for 30 videos of 25 maps of 256×7×7): for estimates.
_SECONDS_A_VALUE = 2.2e-8

PROTOCOLS = {
    "validation": "epoch chosen on a validation share of the training videos",
    "last": "last epoch",
    "authors": "AUTHORS' PROTOCOL: epoch chosen on the test pairs, so their accuracy flatters",
}


@dataclass(frozen=True)
class TrainingPlan:
    """Everything decided before maps are read.

    Attributes
    ----------
    features : FeatureSet
        Videos of all pairs.
    train_pairs, validation_pairs, test_pairs : list of Pair
        By cache key. A validation pair names a held-out training video, or two.
        They are dropped from training, with all other pairs that name a held-out video.
    """

    folder: Path
    features: FeatureSet
    train_pairs: list[Pair]
    validation_pairs: list[Pair]
    test_pairs: list[Pair]
    training_videos: list[str]
    ranker: RankerOptions
    train: TrainOptions
    snippet_stride: int
    seed: int

    @property
    def crossing(self) -> int:
        """Validation pairs with one video among those trained on."""
        shown = set(videos_of(self.train_pairs))
        return sum(p.better in shown or p.worse in shown for p in self.validation_pairs)

    def lines(self) -> list[str]:
        """Say in words what will be trained on what."""
        found = self.features
        lines = [
            f"{len(found.keys)} videos, {found.snippets} snippets of "
            f"{'×'.join(map(str, found.shape))}, variant {self.ranker.variant}",
            f"{len(self.train_pairs)} training pairs of {len(videos_of(self.train_pairs))} videos",
        ]
        if self.snippet_stride > 1:
            fewest = min(len(rows) for rows in found.rows)
            lines.append(
                f"snippets at least {self.snippet_stride} frames apart: {fewest} or more a video "
                f"for {self.ranker.segments} segments"
            )
        if found.parts:
            key, (first, end) = next(iter(found.parts.items()))
            lines.append(
                f"only the judged part of the file is used of {len(found.parts)} of "
                f"{len(found.keys)} videos, e.g. frames {first} to {end - 1} of {key}; their "
                "scores are those of that part"
            )
        if self.train.protocol == "validation":
            held = set(videos_of(self.validation_pairs)) - set(videos_of(self.train_pairs))
            lines.append(
                f"{len(self.validation_pairs)} pairs dropped from training and kept for "
                f"validation: they name {len(held)} held-out training videos, {self.crossing} of "
                "them beside a video that is trained on"
            )
        if self.test_pairs:
            lines.append(f"{len(self.test_pairs)} test pairs")
        return [*lines, f"protocol: {PROTOCOLS[self.train.protocol]}"]

    def seconds(self) -> float:
        """Estimate the time of all epochs on one core."""
        batches = -(-len(self.train_pairs) // (self.train.batch_pairs or len(self.train_pairs)))
        shown = min(len(videos_of(self.train_pairs)), 2 * len(self.train_pairs) // batches + 1)
        values = shown * batches * self.ranker.segments * float(np.prod(self.features.shape))
        return self.train.epochs * values * _SECONDS_A_VALUE

    def fingerprint(self) -> str:
        """Digest of all that decides the outcome, save how long training may go on."""
        options = asdict(self.train)
        for name in ("epochs", "patience"):
            options.pop(name)
        pairs = [self.train_pairs, self.validation_pairs, self.test_pairs]
        decisive = {
            "ranker": asdict(self.ranker),
            "train": options,
            "keys": self.features.keys,
            "content": self.features.digests,
            "pairs": [[[pair.better, pair.worse] for pair in each] for each in pairs],
            "stride": self.snippet_stride,
            "seed": self.seed,
        }
        if self.features.parts:
            decisive["parts"] = self.features.parts
        return hashlib.sha256(canonical_json(decisive).encode()).hexdigest()


def plan_training(
    features: str | Path,
    pairs: Sequence[Pair],
    test_pairs: Sequence[Pair],
    ranker: RankerOptions,
    train: TrainOptions,
    groups: Mapping[str, str] | None,
    snippet_stride: int,
    seed: int,
    spans: Mapping[str, Span] | None = None,
    strict: bool = False,
) -> TrainingPlan:
    """Check everything that can be checked without reading maps, and split off validation.

    With `groups` (video to subject) whole subjects are held out; of videos with `spans` only the
    judged part is used.

    Raises
    ------
    InputError
        Unusable caches, options that do not fit; with `strict` contradictory pairs.
    """
    if not pairs:
        raise InputError("no training pairs")
    if seed < 0:
        raise InputError(f"--seed must not be negative, got {seed}")
    if train.protocol == "authors" and not test_pairs:
        raise InputError("--protocol authors chooses the epoch on test pairs: give --test-pairs")
    report_faults(pairs, strict, "training pairs")
    report_faults(test_pairs, strict, "test pairs")
    _warn_of_shared(pairs, test_pairs)
    found = find_feature_set(
        features,
        videos_of([*pairs, *test_pairs]),
        ranker.segments,
        streams=ranker.variant in NEED_STREAMS,
        snippet_stride=snippet_stride,
    )
    found = within_spans(found, spans or {}, ranker.segments)
    warn_of_repeats(found, ranker.segments)
    split = Split(list(pairs), list(test_pairs), "")
    fitted, validation = choose_pairs(split, train, seed, groups)
    if not validation:
        train = replace(train, protocol="last")
    return TrainingPlan(
        Path(features),
        found,
        fitted,
        validation,
        list(test_pairs),
        videos_of(pairs),
        ranker,
        _fitting_batch(train, fitted, found, ranker),
        snippet_stride,
        seed,
    )


def _fitting_batch(
    train: TrainOptions, pairs: Sequence[Pair], found: FeatureSet, ranker: RankerOptions
) -> TrainOptions:
    """Give a batch size where all pairs in one step would take too much memory."""
    step = len(videos_of(pairs)) * ranker.segments * int(np.prod(found.shape)) * 4
    if train.batch_pairs is not None or step <= STEP_BYTES:
        return train
    log.info("all pairs in one step would take too much memory: %d at a time", FALLBACK_BATCH)
    return replace(train, batch_pairs=FALLBACK_BATCH)


def warn_of_repeats(found: FeatureSet, segments: int) -> None:
    """Say where videos have fewer snippets than segments, so that some are seen repeatedly."""
    counts = [len(rows) for rows in found.rows]
    few = sum(count < segments for count in counts)
    if few:
        log.warning(
            "%d of %d videos have fewer snippets (%d at least) than %d segments: empty segments "
            "take the nearest one; see --segments",
            few,
            len(counts),
            min(counts),
            segments,
        )


def _warn_of_shared(pairs: Sequence[Pair], test_pairs: Sequence[Pair]) -> None:
    seen = set(videos_of(pairs))
    known = sum(pair.better in seen and pair.worse in seen for pair in test_pairs)
    if known:
        log.warning(
            "%d of %d test pairs have both videos in training pairs: their accuracy flatters",
            known,
            len(test_pairs),
        )

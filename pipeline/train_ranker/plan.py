"""What a run of train-ranker will do: checked and decided before any map is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from data.cache.header import canonical_json
from data.errors import InputError
from data.judgements.agreement import Agreement
from data.judgements.pairs import Pair, videos_of
from data.judgements.splits import Split
from model.ranker.build import NEED_STREAMS
from model.ranker.options import TrainOptions, own_protocol, recorded_ranker
from pipeline.runs.choice import check_choice, choose_pairs, ties_among
from pipeline.runs.features import FeatureSet, find_feature_set, warn_of_repeats
from pipeline.runs.judgements import Judgements, report_faults
from pipeline.shell.console import log
from pipeline.shell.words import counted
from pipeline.train_ranker.settings import TrainSettings

# Where no batch size is given, all pairs make one step, up to so many bytes of maps.
STEP_BYTES = 4_000_000_000
FALLBACK_BATCH = 16
# PyTorch and what else a training loads, and its smallest step.
PROGRAM_BYTES = 660_000_000

PROTOCOLS = {
    "validation": "epoch chosen on a validation share of the training videos",
    "last": "last epoch",
    "authors": "AUTHORS' PROTOCOL: epoch chosen on the test pairs, so their accuracy flatters",
}


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Everything decided before maps are read.

    Attributes
    ----------
    settings : TrainSettings
        With the protocol that the pairs allow, and a batch size that fits into memory.
    features : FeatureSet
        Videos of all pairs.
    train_pairs, validation_pairs, test_pairs : list of Pair
        By cache key. A validation pair names a held-out training video, or two. All pairs that
        name one are dropped from training.
    tied_pairs : list of Pair
        Ties to train on.
    training_videos : list of str
        Videos that training pairs name, those for validation included.
    agreement : Agreement or None
        Of the judges.
    groups : list of str, or None
        Subject of each video of `features`, where all are known.
    """

    settings: TrainSettings
    features: FeatureSet
    train_pairs: list[Pair]
    validation_pairs: list[Pair]
    test_pairs: list[Pair]
    tied_pairs: list[Pair]
    training_videos: list[str]
    agreement: Agreement | None = None
    groups: list[str] | None = None

    @property
    def protocol(self) -> str:
        """How the epoch is chosen, in words."""
        return PROTOCOLS[self.settings.train.protocol]

    def lines(self) -> list[str]:
        """Return in words what will be trained on what."""
        features, settings = self.features, self.settings
        lines = [
            f"{len(features.keys)} videos, {features.snippets} snippets of "
            f"{'×'.join(map(str, features.shape))}, variant {settings.ranker.variant}",
            f"{len(self.train_pairs)} training pairs of {len(videos_of(self.train_pairs))} videos",
        ]
        if self.tied_pairs:
            lines.append(
                f"{counted(len(self.tied_pairs), 'tie')} of these videos, each of weight "
                f"{settings.judgements.ties:g}"
            )
        if settings.stride > 1:
            fewest = min(len(rows) for rows in features.rows)
            lines.append(
                f"snippets at least {settings.stride} frames apart: {fewest} or more a "
                f"video for {settings.ranker.segments} segments"
            )
        if features.parts:
            key, (first, end) = next(iter(features.parts.items()))
            lines.append(
                f"only the judged part of the file is used of {len(features.parts)} of "
                f"{len(features.keys)} videos, e.g. frames {first} to {end - 1} of {key}; their "
                "scores are those of that part"
            )
        if settings.train.protocol == "validation":
            lines.append(self._validation())
        if self.test_pairs:
            lines.append(f"{len(self.test_pairs)} test pairs")
        return [*lines, f"protocol: {self.protocol}"]

    def _validation(self) -> str:
        trained = set(videos_of(self.train_pairs))
        held_out = set(videos_of(self.validation_pairs)) - trained
        crossing = sum(
            pair.better in trained or pair.worse in trained for pair in self.validation_pairs
        )
        return (
            f"{len(self.validation_pairs)} pairs dropped from training and kept for validation: "
            f"they name {len(held_out)} held-out training videos, {crossing} of them together with "
            "a video that is trained on"
        )

    def fingerprint(self) -> str:
        """Digest of all that decides the outcome, except how long training may go on."""
        options = asdict(self.settings.train)
        if self.settings.ranker.variant != "blend":  # Its finished networks are not trained longer.
            for name in ("epochs", "patience"):
                options.pop(name)
        pairs = [self.train_pairs, self.validation_pairs, self.test_pairs]
        decisive = {
            "ranker": recorded_ranker(self.settings.ranker),
            "train": options,
            "keys": self.features.keys,
            "content": self.features.digests,
            "pairs": [[[pair.better, pair.worse] for pair in each] for each in pairs],
            "stride": self.settings.stride,
            "seed": self.settings.seed,
        }
        if self.tied_pairs:
            ties = [[pair.better, pair.worse] for pair in self.tied_pairs]
            decisive["ties"] = [self.settings.judgements.ties, ties]
        if self.features.parts:
            decisive["parts"] = self.features.parts
        return hashlib.sha256(canonical_json(decisive).encode()).hexdigest()


def plan_training(settings: TrainSettings, judgements: Judgements) -> TrainingPlan:
    """Check everything that can be checked without reading maps, and split off validation.

    Raises
    ------
    InputError
        Unusable caches, options that do not fit; with `strict` contradictory pairs.
    """
    pairs, test_pairs = judgements.train, judgements.test
    ranker, train, strict = settings.ranker, settings.train, settings.judgements.strict
    if not pairs:
        raise InputError("no training pairs")
    check_choice(train)
    if train.protocol == "authors" and not test_pairs:
        raise InputError("--protocol authors chooses the epoch on test pairs: give --test-pairs")
    if ranker.variant == "blend" and train.protocol == "authors":
        raise InputError("--variant blend never sees test pairs: leave --protocol authors out")
    train = own_protocol(ranker, train)
    report_faults(pairs, strict, "training pairs")
    report_faults(test_pairs, strict, "test pairs")
    _warn_of_shared(pairs, test_pairs)
    features = find_feature_set(
        settings.features,
        videos_of([*pairs, *test_pairs]),
        ranker.segments,
        streams=ranker.variant in NEED_STREAMS,
        snippet_stride=settings.stride,
        spans=judgements.spans,
    )
    warn_of_repeats(features, ranker.segments)
    split = Split(pairs, test_pairs, "")
    fitted, validation = choose_pairs(split, train, settings.seed, judgements.groups, features.same)
    if not validation:
        train = replace(train, protocol="last")
    train = fitting_batch(train, fitted, ranker.segments, features.shape)
    return TrainingPlan(
        settings=replace(settings, train=train),
        features=features,
        train_pairs=fitted,
        validation_pairs=validation,
        test_pairs=test_pairs,
        tied_pairs=ties_among(judgements.tied, fitted, settings.judgements.ties),
        training_videos=videos_of(pairs),
        agreement=judgements.agreement,
        groups=subjects(features.keys, judgements.groups),
    )


def subjects(keys: Sequence[str], groups: Mapping[str, str] | None) -> list[str] | None:
    """Return the subject of each video; None if one is not known."""
    known = groups or {}
    return [known[key] for key in keys] if known and set(keys) <= set(known) else None


def fitting_batch(
    train: TrainOptions, pairs: Sequence[Pair], segments: int, shape: Sequence[int]
) -> TrainOptions:
    """Set a batch size where all pairs in one step would take too much memory."""
    step = _step_bytes(replace(train, batch_pairs=None), pairs, segments, shape)
    if train.batch_pairs is not None or step <= STEP_BYTES:
        return train
    log.info("all pairs in one step would take too much memory: %d at a time", FALLBACK_BATCH)
    return replace(train, batch_pairs=FALLBACK_BATCH)


def memory_needed(
    features: FeatureSet, train: TrainOptions, pairs: Sequence[Pair], segments: int
) -> int:
    """Return about how many bytes a training takes: the program, all maps, and a step.

    Measured: the command peaks at 0.66 GB for 64 videos of 6 segments of 256x3x3; from 40 to 100
    videos of 25 segments of 256x7x7, `full` grows by 1.7 times the maps of a step, and `cbam` takes
    0.2 GB more. Maps that do not fit are read from a file.
    """
    step = _step_bytes(train, pairs, segments, features.shape)
    return PROGRAM_BYTES + features.bytes + 2 * step


def _step_bytes(
    train: TrainOptions, pairs: Sequence[Pair], segments: int, shape: Sequence[int]
) -> int:
    """Return the size of the maps of a step's videos, float32."""
    videos = len(videos_of(pairs))
    if train.batch_pairs is not None:
        videos = min(videos, 2 * train.batch_pairs)
    return videos * segments * int(np.prod(shape)) * 4


def _warn_of_shared(pairs: Sequence[Pair], test_pairs: Sequence[Pair]) -> None:
    trained = set(videos_of(pairs))
    shared = sum(pair.better in trained and pair.worse in trained for pair in test_pairs)
    if shared:
        log.warning(
            "%d of %d test pairs have both videos in training pairs: their accuracy flatters",
            shared,
            len(test_pairs),
        )

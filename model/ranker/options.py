"""Hyper-parameters of the ranker and of its training, each written once, and the presets."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

Variant = Literal[
    "full",
    "only_x",
    "only_htop",
    "fc_att",
    "no_att",
    "att_pool",
    "visual",
    "cbam",
    "sca",
    "video_lstm",
    "raan",
    "blend",
]
Preset = Literal["small", "chopstick", "surgery", "drawing", "dough", "infant-grasp", "diving"]


def _number(default: Any, text: str, source: str, low: float, high: float) -> Any:
    metadata = {"help": text, "source": source, "min": low, "max": high}
    return field(default=default, metadata=metadata)


def _check_bounds(options: Any) -> None:
    """Refuse numbers, also NaN, outside the bounds that the fields name."""
    for entry in fields(options):
        value, bounds = getattr(options, entry.name), entry.metadata
        if value is None or "min" not in bounds:
            continue
        low, high = bounds["min"], bounds["max"]
        if not low <= value <= high:
            raise ValueError(f"{entry.name} must be from {low:g} to {high:g}, got {value}")


@dataclass(frozen=True, kw_only=True)
class RankerOptions:
    """Which ranker, and its sizes; all of it travels in the checkpoint."""

    variant: Variant = field(default="full", metadata={"help": "Ranker to train; see the README."})
    segments: int = _number(
        25,
        "Segments that each video is cut into; one snippet of each is seen.",
        "paper",
        1,
        100_000,
    )
    hidden_size: int = _number(128, "Size of both hidden states.", "authors' code", 1, 65_536)
    attention_size: int = _number(
        32, "Inner size of the spatial attention.", "authors' code", 1, 65_536
    )
    initial_hidden: Literal["zeros", "normal"] = field(
        default="zeros",
        metadata={
            "help": "Start of the hidden states; `normal` draws them, as the authors do.",
            "source": "ours, because scores are then a function of the video",
        },
    )
    coverage_weight: float = _number(
        0.0,
        "Weight of the coverage loss of `visual`.",
        "off, as in the paper's comparison",
        0,
        1000,
    )
    dropout: float = _number(
        0.3, "Dropout before the score of `video_lstm`.", "authors' code", 0, 1
    )
    temporal_filters: int = _number(
        3, "Attention filters a branch of `raan`.", "RAAN's code", 1, 1000
    )
    temporal_size: int = _number(
        256, "Inner size of the filters of `raan`.", "RAAN's code", 1, 65_536
    )
    disparity_margin: float = _number(
        0.05,
        "Margin of `raan` over its uniform branch, per unit of --margin.",
        "RAAN's code",
        0,
        1000,
    )
    rank_aware_margin: float = _number(
        0.15, "Margin of `raan` between its branches, per unit of --margin.", "RAAN's code", 0, 1000
    )
    diversity_weight: float = _number(0.1, "Diversity loss of `raan`.", "RAAN's code", 0, 1000)

    members: int = _number(
        5, "Networks of `blend`, each trained without one part of the videos.", "ours", 2, 100
    )
    duration: bool = field(
        default=True,
        metadata={"help": "Let `blend` count how long a video is.", "source": "ours"},
    )

    def __post_init__(self) -> None:
        _check_bounds(self)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")


# Options that only this variant reads; records of other variants do not name them, so that results
# of earlier versions stay valid.
_OWN = {"blend": ("members", "duration")}


def recorded_ranker(options: RankerOptions) -> dict[str, Any]:
    """Return the options that decide what a ranker is, as records and fingerprints hold them."""
    foreign = {name for variant, names in _OWN.items() if variant != options.variant
               for name in names}  # fmt: skip
    return {name: value for name, value in asdict(options).items() if name not in foreign}


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How the ranker is fitted. The defaults converge on sets of ten to a hundred videos."""

    optimizer: Literal["adam", "sgd"] = field(
        default="adam", metadata={"help": "Optimiser.", "source": "ours; authors mostly sgd"}
    )
    learning_rate: float = _number(1e-3, "Learning rate.", "ours, fits in 20-80 epochs", 0, 10)
    momentum: float = _number(0.9, "Momentum of sgd.", "authors' code", 0, 1)
    weight_decay: float = _number(0.0, "Weight decay (L2).", "ours; authors 1e-2 with sgd", 0, 10)
    margin: float = _number(0.5, "Margin of the ranking loss.", "paper", 0, 1000)
    epochs: int = _number(80, "Epochs at most.", "ours", 1, 1_000_000)
    batch_pairs: int | None = field(
        default=None,
        metadata={
            "help": "Pairs a step; all pairs in one step when not given. Each distinct video of "
            "a step is scored once.",
            "source": "ours; authors 16",
            "min": 1,
            "max": 1_000_000,
        },
    )
    clip_norm: float | None = _number(
        5.0, "Gradients are scaled down to this norm; 0 never.", "ours; authors none", 0, 1_000_000
    )
    sampling: Literal["whole", "authors"] = field(
        default="whole",
        metadata={
            "help": "How snippets are drawn: one in each segment of the whole video, or the "
            "authors' bins, which can leave out up to half of a video.",
        },
    )
    protocol: Literal["validation", "last", "authors"] = field(
        default="last",
        metadata={
            "help": "Which epoch is kept: the last one, trained on all pairs; the best one on a "
            "share of the training videos; or the best one on the test pairs, as the authors do "
            "(labelled in every output).",
            "source": "ours, because holding videos back costs more than the choice gains",
        },
    )
    validation_share: float = _number(
        0.2, "Share of the training videos that `--protocol validation` keeps.", "ours", 0, 1
    )
    patience: int | None = field(
        default=30,
        metadata={
            "help": "Stop after so many epochs without a better validation result; 0 never.",
            "source": "ours",
            "min": 0,
            "max": 1_000_000,
        },
    )

    def __post_init__(self) -> None:
        _check_bounds(self)
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share must be in [0, 1), got {self.validation_share}")


# The authors' training, by data set (their code). The snippet stride belongs to reading the
# features, so it is kept apart, in SNIPPET_STRIDE.
_AUTHORS: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 5e-4,
    "momentum": 0.9,
    "weight_decay": 1e-2,
    "margin": 0.5,
    "epochs": 30,
    "batch_pairs": 16,
    "clip_norm": 0.0,
    "patience": 0,
}
PRESETS: dict[str, dict[str, Any]] = {
    "small": {},
    "chopstick": _AUTHORS,
    "surgery": _AUTHORS,
    "drawing": _AUTHORS | {"learning_rate": 1e-3, "weight_decay": 1e-3},
    "dough": _AUTHORS
    | {"optimizer": "adam", "learning_rate": 5e-6, "weight_decay": 0.0, "epochs": 70},
    "infant-grasp": _AUTHORS | {"epochs": 20, "batch_pairs": 30},
    "diving": _AUTHORS | {"learning_rate": 5e-5, "weight_decay": 1e-3, "epochs": 20},
}
SNIPPET_STRIDE: dict[str, int] = {
    "small": 1,
    "chopstick": 1,
    "surgery": 5,
    "drawing": 5,
    "dough": 50,
    "infant-grasp": 1,
    "diving": 1,
}


def apply_preset(
    options: TrainOptions, preset: Preset, explicit: Collection[str] = ()
) -> TrainOptions:
    """Return `options` with a preset's values, except for the fields that the user gave.

    Raises
    ------
    ValueError
        If there is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    values = {name: value for name, value in PRESETS[preset].items() if name not in explicit}
    return replace(options, **values)


def own_protocol(ranker: RankerOptions, train: TrainOptions) -> TrainOptions:
    """Return `train` with the protocol of the variant: each network of `blend` holds videos out.

    An epoch chosen on the videos that a network has not seen would make its scores of them better
    than those of new videos, so these networks train to the end.
    """
    return replace(train, protocol="last") if ranker.variant == "blend" else train

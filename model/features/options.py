"""Options of stage one's networks; importing this module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

AUTO, NONE = "auto", "none"
#: What can be adapted in a flow trunk: the first convolution tells directions apart; the input is
#: centred on zero motion; BatchNorm's statistics are those of flow.
FLOW_PARTS = ("stem", "input", "statistics")
#: Of these, the ones that measured best in an inflated trunk (docs/accuracy.md).
INFLATED_PARTS = ("input",)


@dataclass(frozen=True, kw_only=True)
class TrunkOptions:
    """Which trunks turn a snippet into stream maps (paper, section 3.1)."""

    weights: Literal["imagenet", "random"] = field(
        default="imagenet",
        metadata={
            "help": "Start of trunks without a weights file of their own: torchvision's ImageNet "
            "weights, or a seeded random start (demos and tests only).",
        },
    )
    rgb_weights: str | None = field(
        default=None,
        metadata={
            "metavar": "FILE",
            "help": "Weights of the RGB trunk: any ResNet101 state dict (.pth, .pth.tar, "
            ".safetensors).",
        },
    )
    flow_weights: str | None = field(
        default=None,
        metadata={
            "metavar": "FILE",
            "help": "Weights of the flow trunk. Default: the RGB trunk's start, see --adapt-flow.",
        },
    )
    adapt_flow: str = field(
        default=AUTO,
        metadata={
            "metavar": "auto|none|PARTS",
            "help": "What is adapted to flow in a trunk of photographs: stem, input, statistics "
            "(comma-separated), or none. auto: input where a stem of 3 channels is inflated, none "
            "in trunks made for flow.",
            "source": "ours: the best on synthetic videos, docs/accuracy.md",
        },
    )
    trunk_stage: Literal["conv5", "conv4"] = field(
        default="conv5",
        metadata={"help": "Stage whose output is the stream map.", "source": "paper: conv5"},
    )
    input_size: int = field(
        default=448,
        metadata={"help": "Side of the square network input, px.", "source": "paper", "min": 17},
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="auto",
        metadata={
            "help": "Arithmetic of the trunks; auto: float16 on CUDA, else float32. bfloat16: "
            "about twice as fast on CPUs that have it, maps within some per cent.",
        },
    )
    training_videos: str | None = field(
        default=None,
        metadata={
            "metavar": "VIDEOS",
            "help": "Training videos (folder, @list.txt or CSV) for --adapt-flow statistics, "
            "random trunks and --fusion pca. Default, but for pca: all videos given.",
        },
    )
    training_snippets: int = field(
        default=64,
        metadata={
            "help": "Snippets of the training videos used for that, spread evenly over them.",
            "source": "ours",
            "min": 2,
        },
    )

    def __post_init__(self) -> None:
        """Refuse unknown parts to adapt; give equal choices one spelling."""
        if self.adapt_flow in (AUTO, NONE):
            return
        given = {part.strip() for part in self.adapt_flow.split(",")}
        if not given <= set(FLOW_PARTS):
            raise ValueError(
                f"--adapt-flow: expected auto, none, or some of {','.join(FLOW_PARTS)}, got "
                f"{self.adapt_flow!r}"
            )
        parts = ",".join(part for part in FLOW_PARTS if part in given)
        object.__setattr__(self, "adapt_flow", parts)


@dataclass(frozen=True, kw_only=True)
class FusionOptions:
    """How the two stream maps become one fused map (paper, section 3.1; authors' sizes)."""

    fusion: str = field(
        default="random",
        metadata={
            "metavar": "random|pca|FILE",
            "help": "Frozen ConvFusion: a seeded random start, whitened PCA of the training "
            "videos, or a checkpoint of fit-fusion.",
        },
    )
    fusion_hidden: int = field(
        default=512,
        metadata={
            "help": "Channels after the 2×2 convolution.",
            "source": "authors' code",
            "min": 1,
        },
    )
    fusion_channels: int = field(
        default=256,
        metadata={"help": "Channels of the fused map.", "source": "authors' code", "min": 1},
    )

"""Options of stage one's networks; importing this module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


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
            "help": "Weights of the flow trunk. Default: the RGB trunk's start, its stem "
            "averaged over colours and repeated.",
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
    precision: Literal["auto", "float32", "float16"] = field(
        default="auto",
        metadata={"help": "Arithmetic of the trunks; auto: float16 on CUDA, else float32."},
    )
    training_videos: str | None = field(
        default=None,
        metadata={
            "metavar": "VIDEOS",
            "help": "Training videos (folder, @list.txt or CSV) that calibrate random trunks and "
            "fit --fusion pca. Default for random trunks: all videos given.",
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

"""The frozen ResNet101 up to conv5 (or conv4) that turns one stream into maps."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet, resnet101
from torchvision.models.resnet import Bottleneck

Stage = Literal["conv5", "conv4"]
CHANNELS: dict[str, int] = {"conv5": 2048, "conv4": 1024}
# Centred flow: the level of zero motion in flow caches, and the levels that make 1 at the stem,
# about the deviation of flow. BatchNorm statistics of flow undo the scale; it keeps the variances
# far above BatchNorm's epsilon, and is exact in half precision.
ZERO_LEVEL, UNIT_LEVELS = 128.0, 8.0
_BLOCKS = {"layer1": 3, "layer2": 4, "layer3": 23, "layer4": 3}


class Trunk(nn.Module):
    """ResNet101 without its head; parameters are frozen and the mode is always eval.

    Tensors are not allocated before `load_state_dict(..., assign=True)` (see `make_trunk`).

    Parameters
    ----------
    channels : int
        Of the input.
    stage : {"conv5", "conv4"}
    centred : bool
        Whether `scale_levels` centres flow on zero motion. It is part of the trunk's function, and
        so of its state and digest.

    References
    ----------
    He et al., Deep Residual Learning, 2016, section 4.1. doi:10.1109/CVPR.2016.90
    """

    def __init__(self, channels: int, stage: Stage = "conv5", *, centred: bool = False) -> None:
        super().__init__()
        self.centred = centred
        if centred:
            for name, value in (("zero", ZERO_LEVEL), ("unit", UNIT_LEVELS)):
                self.register_buffer(name, torch.tensor(value))
        net = copy.deepcopy(_skeleton())
        with torch.device("meta"):
            stem = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.stage = stage
        self.conv1 = stem
        self.bn1 = net.bn1
        self.relu = net.relu
        self.maxpool = net.maxpool
        self.layer1 = net.layer1
        self.layer2 = net.layer2
        self.layer3 = net.layer3
        self.layer4: nn.Module = net.layer4 if stage == "conv5" else nn.Identity()
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Trunk:
        """Stay in eval mode even under a parent's `train`: the trunks are frozen."""
        return super().train(False)

    def scale_levels(self, levels: Tensor) -> Tensor:
        """Scale 8-bit flow levels, float32, in place: ÷255, or about zero motion where centred."""
        return levels.sub_(ZERO_LEVEL).div_(UNIT_LEVELS) if self.centred else levels.div_(255)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images to a stream map.

        Parameters
        ----------
        x : Tensor (B, channels, S, S)

        Returns
        -------
        Tensor (B, 2048, ⌈S/32⌉, ⌈S/32⌉); conv4: (B, 1024, ⌈S/16⌉, ⌈S/16⌉)
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


@functools.cache
def _skeleton() -> ResNet:
    """Build the layers without tensors, once: torchvision's own start takes a fifth of a second."""
    with torch.device("meta"):
        return resnet101(weights=None)


def make_trunk(
    channels: int, stage: Stage, state: Mapping[str, Tensor], *, centred: bool = False
) -> Trunk:
    """Build a trunk around the given tensors, which it shares."""
    trunk = Trunk(channels, stage, centred=centred)
    trunk.load_state_dict({**dict(trunk.named_buffers(recurse=False)), **state}, assign=True)
    return trunk.requires_grad_(False)


def random_state(channels: int, stage: Stage, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a trunk's tensors as torchvision initialises a ResNet, from a generator of ours.

    BatchNorm statistics are the identity's: calibrate them (`calibrate`) before use. Differs from
    torchvision: residual branches are scaled by 1/√(blocks of the stage), because with full
    branches a random ResNet101 is chaotic (it multiplied a relative change of its input by 850,
    scaled by 64), so that rounding alone would show in the maps.
    """
    state = {}
    for name, value in Trunk(channels, stage).state_dict().items():
        tensor = torch.zeros(value.shape, dtype=value.dtype)
        if value.ndim == 4:
            nn.init.kaiming_normal_(
                tensor, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif name.endswith("bn3.weight"):
            tensor.fill_(_BLOCKS[name.partition(".")[0]] ** -0.5)
        elif name.endswith(("weight", "running_var")):
            tensor.fill_(1)
        state[name] = tensor
    return state


@torch.no_grad()
def calibrate(trunk: Trunk, batches: Iterable[Tensor]) -> None:
    """Set every BatchNorm's mean and variance, in place, to those of some snippets.

    An uncalibrated random flow trunk reaches 2·10⁵ at conv5 and overflows float16; with
    statistics of real snippets its maps have a standard deviation near 1.
    Each batch is normalised by its own statistics on the way up; the statistics kept are the
    plain averages over batches, so give batches of one size (8 or more).

    Parameters
    ----------
    trunk : Trunk
        Not folded.
    batches : iterable of Tensor (B, channels, S, S)
        Normalised inputs, as `forward` takes them.

    Raises
    ------
    ValueError
        When there is no batch, or an input leaves a single value a channel.
    """
    norms = [m for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            # Of its own: two trunks may share the tensors of one weights file.
            setattr(norm, name, getattr(norm, name).clone())
        norm.reset_running_stats()
        norm.momentum = None  # Cumulative average.
        nn.Module.train(norm, True)
    count = 0
    try:
        for batch in batches:
            trunk(batch)
            count += 1
    finally:
        for norm in norms:
            nn.Module.train(norm, False)
    if count == 0:
        raise ValueError("no snippets to calibrate BatchNorm on")


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of names, shapes, types and values, independent of their file."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):
            continue
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fold_batchnorm(trunk: Trunk) -> Trunk:
    """Return a trunk of its own whose BatchNorms are folded into the convolutions before them.

    It computes the same function up to float32 rounding.
    """
    folded = Trunk(trunk.conv1.in_channels, trunk.stage, centred=trunk.centred)
    _fold(folded, trunk, 1)
    for block, original in zip(_blocks(folded), _blocks(trunk), strict=True):
        for index in (1, 2, 3):
            _fold(block, original, index)
        if original.downsample is not None:
            block.downsample = nn.Sequential(fuse_conv_bn_eval(*original.downsample))
    return folded.requires_grad_(False)


def _fold(target: nn.Module, source: nn.Module, index: int) -> None:
    """Set `conv<index>` to the source's, with its `bn<index>` folded in."""
    conv, norm = getattr(source, f"conv{index}"), getattr(source, f"bn{index}")
    setattr(target, f"conv{index}", fuse_conv_bn_eval(conv, norm))
    setattr(target, f"bn{index}", nn.Identity())


def _blocks(trunk: Trunk) -> Iterator[Bottleneck]:
    return (module for module in trunk.modules() if isinstance(module, Bottleneck))

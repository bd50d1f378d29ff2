"""Stage one as it is fastest on a CPU: the same functions, up to rounding.

Trunks use oneDNN's fused operations: a convolution also adds and rectifies, and writes its result
once; apart, a ReLU and a sum read and write it again. PyTorch's compiler makes the same calls; here
they need no compiler and no conversion. Filters are not packed for oneDNN: one packing does not
suit all sizes of maps, and at inputs of 128 px each call packed them again, which took longer than
all else.

ConvFusion's first convolution reads every position once, so it is a product of matrices. As a
convolution, oneDNN reorders its 8 million weights for each batch: 14 ms on two cores.
"""

from __future__ import annotations

import functools
import platform

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import Bottleneck

from model.features.fusion import ConvFusion
from model.features.trunk import Trunk


class FusedConv(nn.Module):
    """A convolution with its BatchNorm and, where asked, the sum and the ReLU that follow.

    Parameters
    ----------
    conv : Conv2d
        Float32, on the CPU.
    norm : BatchNorm2d
        In eval mode.
    relu : bool
        Whether a ReLU follows.
    dtype : {torch.float32, torch.bfloat16}
        Of inputs, filters and outputs; sums are float32.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d,
        *,
        relu: bool,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        folded = fuse_conv_bn_eval(conv, norm).to(dtype)
        self.bias = folded.bias
        self.relu = "relu" if relu else None
        self.geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self.weight = folded.weight.detach().to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, branch: Tensor | None = None) -> Tensor:
        """Convolve; where a branch is given, its tensor takes the sum.

        Parameters
        ----------
        x : Tensor (B, channels, H, W)
        branch : Tensor (B, filters, H', W'), optional
            Added before the ReLU, and overwritten with the result.

        Returns
        -------
        Tensor (B, filters, H', W')
        """
        parts = (x, self.weight, self.bias, *self.geometry)
        if branch is None:
            convolve = torch.ops.mkldnn._convolution_pointwise
            return convolve(*parts, self.relu or "none", [], "")
        add = torch.ops.mkldnn._convolution_pointwise_
        return add(branch, *parts, "add", 1.0, self.relu, [], None)


class FusedBlock(nn.Module):
    """A bottleneck as four fused convolutions at most."""

    def __init__(self, block: Bottleneck, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv1 = FusedConv(block.conv1, block.bn1, relu=True, dtype=dtype)
        self.conv2 = FusedConv(block.conv2, block.bn2, relu=True, dtype=dtype)
        self.conv3 = FusedConv(block.conv3, block.bn3, relu=True, dtype=dtype)
        self.downsample: FusedConv | None = None
        if block.downsample is not None:
            self.downsample = FusedConv(*block.downsample, relu=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; without a downsampling branch it takes the input's place."""
        inner = self.conv2(self.conv1(x))
        return self.conv3(inner, x if self.downsample is None else self.downsample(x))


def fuse_convolutions(trunk: Trunk, dtype: torch.dtype = torch.float32) -> Trunk:
    """Return a trunk of its own, whose BatchNorms are folded and whose convolutions are fused.

    It computes the same function up to rounding.

    Parameters
    ----------
    trunk : Trunk
        Not folded; float32, on the CPU.
    dtype : {torch.float32, torch.bfloat16}
        Of the inputs and outputs of all convolutions.
    """
    fused = Trunk(trunk.conv1.in_channels, trunk.stage, centred=trunk.centred)
    fused.conv1 = FusedConv(trunk.conv1, trunk.bn1, relu=True, dtype=dtype)  # type: ignore[assignment]
    fused.bn1 = fused.relu = nn.Identity()
    for name in ("layer1", "layer2", "layer3", "layer4"):
        layer = getattr(fused, name)
        for index, block in getattr(trunk, name).named_children():
            setattr(layer, index, FusedBlock(block, dtype))
    return fused.requires_grad_(False)


class PatchFusion(nn.Module):
    """ConvFusion as two products of matrices.

    Parameters
    ----------
    fusion : ConvFusion
        Float32, on the CPU.
    """

    def __init__(self, fusion: ConvFusion) -> None:
        super().__init__()
        self.side = fusion.reduce.kernel_size[0]
        self.reduce_bias, self.project_bias = fusion.reduce.bias, fusion.project.bias
        self.reduce = fusion.reduce.weight.permute(0, 2, 3, 1).flatten(1).contiguous()
        self.project = fusion.project.weight.flatten(1)

    def forward(self, rgb: Tensor, flow: Tensor) -> Tensor:
        """Fuse the maps of one snippet each, as `ConvFusion` does."""
        side, maps = self.side, torch.cat((rgb, flow), dim=1).permute(0, 2, 3, 1)
        batch, height, width = len(maps), maps.shape[1] // side, maps.shape[2] // side
        maps = maps[:, : height * side, : width * side]
        patches = maps.reshape(batch, height, side, width, side, -1).transpose(2, 3).flatten(3)
        hidden = torch.relu(linear(patches, self.reduce, self.reduce_bias))
        return linear(hidden, self.project, self.project_bias).permute(0, 3, 1, 2)


@functools.cache
def can_fuse() -> bool:
    """Whether the fused operations are here, and compute what they should.

    They are no public part of PyTorch: a small block is compared with plain operations. Other
    processors than x86-64 keep those: nothing was measured there.
    """
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        conv = nn.Conv2d(16, 16, kernel_size=3, padding=1).requires_grad_(False).eval()
        norm = nn.BatchNorm2d(16).requires_grad_(False).eval()
        x = torch.randn(2, 16, 6, 6).to(memory_format=torch.channels_last)
    expected = torch.relu(norm(conv(torch.relu(norm(conv(x))))) + x)
    try:
        fused = FusedConv(conv, norm, relu=True)
        result = fused(fused(x), x.clone())
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool(torch.allclose(result, expected, rtol=1e-4, atol=1e-4))

"""The layers of ResNet101 under torchvision's names, in its order of operations.

Written out, because importing torchvision imports PyTorch's compiler too, which takes seconds.

References
----------
He et al., Deep Residual Learning, 2016, section 4.1. doi:10.1109/CVPR.2016.90
"""

from __future__ import annotations

from torch import Tensor, nn

# Output channels of a block relative to those of its 3×3 convolution.
_EXPANSION = 4


class Convolution(nn.Conv2d):
    """A convolution without bias that keeps the size, but for its stride; weights come later."""

    def __init__(self, channels: int, out: int, size: int = 1, stride: int = 1) -> None:
        super().__init__(channels, out, size, stride, padding=size // 2, bias=False)

    def reset_parameters(self) -> None:
        """Draw nothing: weights are loaded."""


class Bottleneck(nn.Module):
    """Conv 1×1 → 3×3 → 1×1 beside the identity; the stride is in the 3×3, as in torchvision."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        out = _EXPANSION * width
        self.conv1 = Convolution(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = Convolution(width, out)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                Convolution(channels, out, 1, stride), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, 4·width, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


def layer(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """One stage: so many blocks, the first with the stride."""
    first = Bottleneck(channels, width, stride)
    rest = (Bottleneck(_EXPANSION * width, width) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)

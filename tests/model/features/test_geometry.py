"""Cells of a map lie in the frame where the trunk saw them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.features.geometry import MapGeometry, fused_side
from model.ranker.build import BUILD, NEED_STREAMS, build
from model.ranker.options import RankerOptions


def trunk_geometry(stage: str) -> nn.Module:
    """Layers of a ResNet's kernel sizes, strides and paddings, and ConvFusion's, all weights 1."""
    layers: list[nn.Module] = [nn.Conv2d(1, 1, 7, 2, 3, bias=False), nn.AvgPool2d(3, 2, 1)]
    layers += [nn.Conv2d(1, 1, 3, 2, 1, bias=False) for _ in range(3 if stage == "conv5" else 2)]
    layers.append(nn.Conv2d(1, 1, 2, 2, bias=False))
    module = nn.Sequential(*layers).double()
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    return module


@pytest.mark.parametrize(("size", "stage"), [(448, "conv5"), (448, "conv4"), (320, "conv5")])
def test_cells_lie_where_their_receptive_fields_do(size: int, stage: str) -> None:
    """A cell drawn in the middle of its tile would be 16 px of 448 off what it saw."""
    module = trunk_geometry(stage)
    image = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    out = module(image)
    side = out.shape[-1]
    row, column = side // 2, side // 2 - 1
    (gradient,) = torch.autograd.grad(out[0, 0, row, column], image)
    weight = gradient[0, 0] / gradient.sum()
    centres = torch.arange(size, dtype=torch.float64) + 0.5
    geometry = MapGeometry.of(size, stage)
    for along, cell in ((1, row), (0, column)):
        centroid = float((weight.sum(dim=along) * centres).sum())
        drawn = (geometry.first + cell * geometry.cell) * size
        assert centroid == pytest.approx(drawn, abs=1e-6)  # float64 sums


@pytest.mark.parametrize("variant", sorted(BUILD))
def test_attention_of_every_variant_has_the_fused_grid(variant: str) -> None:
    """Attention on another grid would be drawn with the wrong cells, in a corner of the frame."""
    streams = variant in NEED_STREAMS
    channels, side = (8, 14) if streams else (4, 7)  # conv5 of 448 px, and after ConvFusion
    options = RankerOptions(variant=variant, segments=2, hidden_size=4, attention_size=3)  # type: ignore[arg-type]
    model = build(options, channels, side, side).eval()
    with torch.inference_mode():
        out = model(torch.zeros(1, 2, channels, side, side), torch.Generator())
    if out.attention is not None:
        assert out.attention.shape == (1, 2, 7, 7)


def test_too_small_maps_are_refused() -> None:
    """A 1×1 stream map has no 2×2 window."""
    assert [fused_side(side) for side in (2, 3, 14)] == [1, 1, 7]
    with pytest.raises(ValueError, match="2x2 or more, got 1x1"):
        fused_side(1)

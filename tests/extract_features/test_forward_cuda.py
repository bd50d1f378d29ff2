"""Stage one on a GPU: the maps of the CPU within half precision; skipped where there is no GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.features.fusion import random_fusion
from model.features.stage_one import StageOne
from model.features.trunk import calibrate, make_trunk, random_state
from pipeline.extract_features.forward import Forward, HostMaps

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

L = 2


def pictures(batch: int, channels: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, channels, 6, 6, generator=generator)
    x = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic")
    return (255 * x).clamp(0, 255).byte()


@pytest.fixture(scope="module")
def stage() -> StageOne:
    generator = torch.Generator().manual_seed(0)
    rgb, flow = (make_trunk(c, "conv5", random_state(c, "conv5", generator)) for c in (3, 2 * L))
    made = StageOne(rgb, flow, random_fusion(2048, 16, 8, seed=0))
    calibrate(rgb, [made.normalise_frames(pictures(8, 3, 1))])
    calibrate(flow, [made.normalise_stacks(pictures(8, 2 * L, 2))])
    return made


def run(forward: Forward, frames: Tensor, stacks: Tensor) -> list[HostMaps]:
    return [forward.collect(p) for p in forward.submit(frames, stacks, "video")]


@pytest.mark.parametrize(("precision", "bound"), [("float32", 2e-3), ("float16", 0.1)])
def test_gpu_maps_are_those_of_the_cpu(stage: StageOne, precision: str, bound: float) -> None:
    """Another layout, a captured graph or half precision must not change what is computed."""
    frames, stacks = pictures(5, 3, 3), pictures(5, 2 * L, 4)
    expected = run(Forward(stage), frames, stacks)
    found = run(Forward(stage, "cuda:0", precision, batch_size=2), frames, stacks)
    mine = torch.cat([torch.from_numpy(m.fused) for m in found]).float()
    reference = torch.cat([torch.from_numpy(m.fused) for m in expected]).float()
    # Rounding (2⁻¹¹ in half precision; both caches are stored in it) times the gain of a random
    # ResNet101, about 64.
    assert float((mine - reference).abs().max() / reference.abs().max()) < bound


def test_graphs_of_several_sizes_do_not_disturb_each_other(stage: StageOne) -> None:
    """Maps of a replayed graph are copied out before the next batch overwrites them."""
    forward = Forward(stage, "cuda:0", "float32", batch_size=3)
    frames, stacks = pictures(5, 3, 3), pictures(5, 2 * L, 4)
    once = run(forward, frames, stacks)
    pending = [
        forward.submit(frames, stacks, "video"),
        forward.submit(frames.flip(0), stacks.flip(0), "video"),
    ]
    again = [forward.collect(p) for p in pending[0]]
    for first, second in zip(once, again, strict=True):
        assert (first.fused == second.fused).all()

"""Fused convolutions: the same function, the same maps, and present in every supported PyTorch."""

from __future__ import annotations

import platform

import pytest
import torch

from model.features import stage_one
from model.features.fused import PatchFusion, can_fuse, fuse_convolutions
from model.features.fusion import random_fusion
from model.features.stage_one import StageOne, for_inference
from model.features.trunk import Stage, Trunk, calibrate, fold_batchnorm, make_trunk, random_state
from pipeline.extract_features.settings import has_bfloat16
from tests.model.features.test_trunk import TOLERANCE, relative, smooth

X86 = platform.machine() in ("x86_64", "AMD64")
needs_fused = pytest.mark.skipif(not X86, reason="only x86-64 uses them")


def flow_trunk(stage: Stage = "conv5") -> Trunk:
    trunk = make_trunk(4, stage, random_state(4, stage, torch.Generator().manual_seed(0)))
    calibrate(trunk, [smooth(8, 4, seed=s) / 255 for s in range(2)])
    return trunk


def stage_of(trunk: Trunk) -> StageOne:
    """Return a stage one of which both streams are a flow trunk."""
    stage = StageOne(trunk, trunk, random_fusion(2048, 8, 4, seed=0))
    stage.mean, stage.std = torch.full((1, 4, 1, 1), 0.45), torch.full((1, 4, 1, 1), 0.22)
    return stage


@needs_fused
def test_this_pytorch_has_the_operations() -> None:
    """They are no public part of PyTorch: losing them would cost a fifth of the speed unnoticed."""
    assert can_fuse()


@needs_fused
@pytest.mark.parametrize("stage", ["conv5", "conv4"])
def test_fusing_keeps_the_function(stage: Stage) -> None:
    """It is for speed only. A 33 px input ends in maps of 2 by 2 or 3 by 3 cells, 65 px is odd."""
    trunk = flow_trunk(stage)
    fused = fuse_convolutions(trunk)
    for batch, size in ((1, 33), (3, 65)):
        x = (smooth(batch, 4, size, seed=5) / 255).to(memory_format=torch.channels_last)
        given = x.clone()
        with torch.inference_mode():
            first, again, expected = fused(x), fused(x), trunk(x)
        assert relative(first, expected) < TOLERANCE
        # Sums are written in place: never into the input, nor into what the next call reads.
        assert torch.equal(x, given)
        assert torch.equal(first, again)


@pytest.mark.skipif(not has_bfloat16(), reason="no AVX512_BF16, no AMX")
def test_bfloat16_keeps_the_function() -> None:
    """A wrong type of a bias or a branch would give other maps, or none."""
    trunk = flow_trunk()
    stage = stage_of(trunk)
    half = for_inference(stage, torch.device("cpu"), torch.bfloat16)
    assert half.dtype == torch.bfloat16
    levels = smooth(3, 4, 65, seed=5).to(torch.uint8)
    with torch.inference_mode():
        expected, found = stage(levels, levels), half(levels, levels)
    assert (found.rgb.dtype, found.fused.dtype) == (torch.bfloat16, torch.float32)
    # A hundred random layers make up to 0.26 of roundings of 2⁻⁹; unrelated maps differ by 1.4.
    for name in ("rgb", "flow", "fused"):
        wanted, got = getattr(expected, name), getattr(found, name).float()
        assert (got - wanted).std() < 0.5 * wanted.std(), name


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 2, 2), (3, 7, 4), (2, 5, 9)])
def test_patches_keep_the_fusion(batch: int, height: int, width: int) -> None:
    """A wrong order of a patch's cells, or a last odd row that is used, would change all maps."""
    fusion = random_fusion(6, hidden=5, channels=4, seed=0).requires_grad_(False)
    maps = torch.randn(2, batch, 6, height, width, generator=torch.Generator().manual_seed(1))
    for layout in (torch.contiguous_format, torch.channels_last):
        rgb, flow = (each.to(memory_format=layout) for each in maps)
        expected = fusion(rgb, flow)
        fused = PatchFusion(fusion)(rgb, flow)
        assert fused.shape == expected.shape
        # Float32 sums of 48 terms of size 1.
        torch.testing.assert_close(fused, expected, rtol=0, atol=1e-5)


def test_without_the_operations_folded_trunks_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another processor or PyTorch must give the same maps, only slower."""
    trunk = flow_trunk()
    stage = stage_of(trunk)
    cpu, single = torch.device("cpu"), torch.float32
    fast = for_inference(stage, cpu, single)
    monkeypatch.setattr(stage_one, "can_fuse", lambda: False)
    plain = for_inference(stage, cpu, single)
    assert type(plain.rgb.layer1[0]) is type(fold_batchnorm(trunk).layer1[0])
    assert fast.dtype == plain.dtype == single
    frames, stacks = smooth(2, 4, seed=6), smooth(2, 4, seed=7)
    with torch.inference_mode():
        for result, expected in zip(fast(frames, stacks), plain(frames, stacks), strict=True):
            assert relative(result, expected) < TOLERANCE

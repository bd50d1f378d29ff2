"""Inputs of the trunks: exactly torchvision's transforms, and Pillow's bicubic for flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from data.cache.flow import quantise
from model.features.stage_one import StageOne
from model.features.trunk import Trunk
from pipeline.extract_features.forward import resize_on_device
from pipeline.extract_features.snippets import resize_field, resize_frame, to_levels

RNG = np.random.default_rng(0)
SIZES = [(37, 61), (120, 90), (64, 64)]


@pytest.fixture(scope="module")
def normaliser() -> StageOne:
    trunk = Trunk(3, "conv4").to_empty(device="cpu")
    return StageOne(trunk, trunk, torch.nn.Identity())


@pytest.mark.parametrize("shape", SIZES)
def test_frames_are_prepared_as_torchvision_does(
    shape: tuple[int, int], normaliser: StageOne
) -> None:
    """Published weights expect these numbers; BGR, another filter or scale would shift them."""
    frame = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = transforms.Compose(
        [
            transforms.Resize((64, 64), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(Image.fromarray(frame[:, :, ::-1].copy()))
    found = normaliser.normalise_frames(torch.from_numpy(resize_frame(frame, 64))[None])[0]
    # The same float32 operations on the same 8-bit pixels.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", SIZES)
def test_fields_are_resized_by_pillow(shape: tuple[int, int], normaliser: StageOne) -> None:
    """Each component is an 8-bit picture of its own, ÷255 and nothing more."""
    field = RNG.integers(1, 256, (2, *shape), dtype=np.uint8)
    found = resize_field(field, 48)
    for component, resized in zip(field, found, strict=True):
        expected = Image.fromarray(component).resize((48, 48), Image.Resampling.BICUBIC)
        assert np.array_equal(resized, np.asarray(expected))
    stack = torch.from_numpy(found)[None]
    torch.testing.assert_close(normaliser.normalise_stacks(stack), stack / 255, rtol=0, atol=0)


def test_float16_fields_become_the_levels_of_a_uint8_cache() -> None:
    """Trunks must see the same stacks whichever way flow was stored."""
    flow = RNG.normal(0, 8, (2, 30, 40)).astype(np.float16)
    found = to_levels(flow, scale=1.0, offset=0.0, bound=20.0)
    assert found.dtype == np.uint8
    assert np.array_equal(found, quantise(flow.astype(np.float32), 20.0))
    levels = quantise(flow.astype(np.float32), 20.0)
    assert to_levels(levels, 20 / 127, 128, 20.0) is levels


@pytest.mark.parametrize("shape", [(37, 61), (90, 120), (64, 64)])
def test_device_resize_is_within_a_level_of_pillow(shape: tuple[int, int]) -> None:
    """GPUs resize with torch; more than rounding would make their caches other features."""
    stacks = RNG.integers(1, 256, (2, 4, *shape), dtype=np.uint8)
    found = resize_on_device(torch.from_numpy(stacks), 64).numpy().astype(int)
    for picture, resized in zip(stacks.reshape(-1, *shape), found.reshape(-1, 64, 64), strict=True):
        expected = Image.fromarray(picture).resize((64, 64), Image.Resampling.BICUBIC)
        difference = np.abs(resized - np.asarray(expected).astype(int))
        # Pillow's filter has fixed-point coefficients: ties round differently, rarely.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01

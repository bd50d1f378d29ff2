"""Frames and flow fields to the square 8-bit inputs of the trunks.

Both are resized with Pillow's bicubic filter, as torchvision's transforms do for images; the
aspect is not kept. ÷255 and the ImageNet mean and deviation follow on the device (`StageOne`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from data.cache.flow import dequantise, quantise

if TYPE_CHECKING:
    from torch import Tensor


def resize_frame(frame: np.ndarray, size: int) -> np.ndarray:
    """Resize a BGR frame (H, W, 3) uint8, as OpenCV decodes it, to RGB (3, size, size) uint8."""
    rgb = Image.fromarray(np.ascontiguousarray(frame[:, :, ::-1]))
    resized = np.asarray(rgb.resize((size, size), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(resized.transpose(2, 0, 1))


def resize_field(field: np.ndarray, size: int) -> np.ndarray:
    """Resize a field of 8-bit levels (2, H, W), u then v, to (2, size, size)."""
    resized = [
        Image.fromarray(component).resize((size, size), Image.Resampling.BICUBIC)
        for component in field
    ]
    return np.stack([np.asarray(component) for component in resized])


def to_levels(field: np.ndarray, scale: float, offset: float, bound: float) -> np.ndarray:
    """Return a stored field as 8-bit levels; float16 fields are quantised as uint8 caches are.

    Parameters
    ----------
    field : ndarray (2, H, W) uint8 or float16
    scale, offset : float
        Of the cache: px = (value − offset) · scale.
    bound : float
        Displacement in px of the highest level.
    """
    if field.dtype == np.uint8:
        return field
    return quantise(dequantise(field, scale, offset), bound)


def stack_fields(fields: Sequence[np.ndarray]) -> np.ndarray:
    """Join L fields (2, H, W) in time order to a stack u₁ v₁ u₂ v₂ … (2L, H, W)."""
    return np.concatenate(fields, axis=0)


def resize_on_device(stacks: Tensor, size: int) -> Tensor:
    """Resize (B, 2L, H, W) uint8 stacks on a GPU, within 1 level of Pillow's bicubic.

    Two passes, rounded and clipped to 8 bits between them as Pillow does. Pillow 13 takes the
    height first for upright pictures, earlier ones never: values that are clipped in between may
    differ by more there.
    """
    from torch.nn.functional import interpolate

    height = stacks.shape[-2]
    x = stacks.float()
    for shape in ((height, size), (size, size)):
        x = interpolate(x, size=shape, mode="bicubic", antialias=True, align_corners=False)
        x = x.round_().clamp_(0, 255)
    return x.to(stacks.dtype)

"""Attention lands on the pixels that the trunk saw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from pipeline.overlay import (
    MapGeometry,
    OverlayOptions,
    blend,
    colour_limit,
    colour_table,
    entropy,
    upsample,
)

EVEN = MapGeometry.of(448, "conv5")


def peak(row: int, column: int, size: int = 7) -> np.ndarray:
    attention = np.zeros((size, size), np.float32)
    attention[row, column] = 1
    return attention


@pytest.mark.parametrize(("width", "height"), [(340, 256), (256, 340), (97, 512)])
@given(row=st.integers(0, 6), column=st.integers(0, 6))
@settings(max_examples=20, deadline=None)
def test_a_cell_lights_its_own_pixels(width: int, height: int, row: int, column: int) -> None:
    """A shift or a swap of axes would point at the wrong hand."""
    density, seen = upsample(peak(row, column), EVEN, width, height)
    y, x = np.unravel_index(int(density.argmax()), density.shape)
    assert column / 7 <= (x + 0.5) / width <= (column + 1) / 7
    assert row / 7 <= (y + 0.5) / height <= (row + 1) / 7
    assert seen.all()


def test_even_attention_is_even() -> None:
    """Interpolation must not invent structure: even attention has density 1 everywhere."""
    density, _ = upsample(np.full((7, 7), 1 / 49), EVEN, 340, 256)
    np.testing.assert_allclose(density, 1, rtol=1e-6)  # float32 rounding of 1/49 · 49


def test_an_odd_stream_map_leaves_the_edge_unseen() -> None:
    """224 px gives 7×7 at conv5 and 3×3 after ConvFusion: the last seventh is never looked at."""
    geometry = MapGeometry.of(224, "conv5")
    density, seen = upsample(np.full((3, 3), 1 / 9), geometry, 70, 70)
    assert seen[:60, :60].all()
    assert not seen[60:].any()
    assert not seen[:, 60:].any()
    assert not density[60:].any()


def test_blend_marks_the_peak_and_leaves_the_rest() -> None:
    """The overlay must be strong where attention is and clear where there is none."""
    frame = np.full((70, 140, 3), 100, np.uint8)
    drawn = blend(frame, peak(1, 5), EVEN, OverlayOptions(opacity=1.0))
    assert (drawn[60:] == 100).all()
    # One px is a tenth of a cell off its centre: within a tenth of the strongest colour.
    strongest = colour_table("inferno")[255]
    np.testing.assert_allclose(drawn[15, 110], strongest, atol=40)


def test_one_scale_for_a_video_keeps_weak_frames_weak() -> None:
    """With a scale of its own a frame of nearly even attention would look as sure as any."""
    maps = np.stack([peak(3, 3), np.full((7, 7), 1 / 49, np.float32)])
    frame = np.full((70, 70, 3), 100, np.uint8)
    fixed, own = OverlayOptions(), OverlayOptions(colour_scale="frame")
    weak = blend(frame, maps[1], EVEN, fixed, colour_limit(maps, fixed))
    sure = blend(frame, maps[1], EVEN, own, colour_limit(maps, own))
    change = [np.abs(image.astype(int) - 100).max() for image in (weak, sure)]
    assert change[0] < 5 < change[1]


def test_entropy_runs_from_0_to_1() -> None:
    """Entropy says how spread attention is: 0 for one cell, 1 for all alike."""
    maps = np.stack([peak(0, 0), np.full((7, 7), 1 / 49)])
    np.testing.assert_allclose(entropy(maps), [0, 1], atol=1e-6)  # float32 maps


def test_unknown_colours_are_one_clear_line() -> None:
    """A mistyped colour map must name the option, not a library's dictionary."""
    with pytest.raises(InputError, match="--colours"):
        colour_table("infrno")

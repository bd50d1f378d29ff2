"""Attention lands on the pixels that the trunk saw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from model.features.geometry import MapGeometry
from pipeline.pictures.attention import blend, colour_limit, colour_table, entropy, upsample
from pipeline.pictures.options import OverlayOptions

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
    density, under_map = upsample(peak(row, column), EVEN, width, height)
    bright = density > 0.95 * density.max()  # half a pixel is at most 0.04 of a cell
    # Receptive fields have their centres on 16.5, 80.5, … of 448 px; beyond the outermost the
    # density stays, so the bright pixels of a cell at the edge reach to it.
    x, y = ((16.5 + 64 * n) / 448 for n in (column, row))
    ys, xs = np.nonzero(bright)
    assert bright[int(y * height), int(x * width)]
    for places, cell, share, side in ((xs, column, x, width), (ys, row, y, height)):
        near = (places + 0.5) / side - share
        assert near.min() <= 1 / side
        assert near.max() >= -1 / side
        if 0 < cell < 6:
            assert np.abs(near).max() <= 1 / side + 0.05 * 64 / 448
    assert under_map.all()


def test_even_attention_is_even() -> None:
    """Interpolation must not invent structure: even attention has density 1 everywhere."""
    density, _ = upsample(np.full((7, 7), 1 / 49), EVEN, 340, 256)
    np.testing.assert_allclose(density, 1, rtol=1e-6)  # float32 rounding of 1/49 · 49


def test_an_odd_stream_map_leaves_the_edge_unseen() -> None:
    """224 px gives 7×7 at conv5 and 3×3 after ConvFusion: the last row of cells is dropped."""
    geometry = MapGeometry.of(224, "conv5")
    density, under_map = upsample(np.full((3, 3), 1 / 9), geometry, 224, 112)
    # Stream cells have their centres on 0.5, 32.5 … 192.5; the last two part at 176.5 px.
    assert under_map[:88, :176].all()
    assert not under_map[89:].any()
    assert not under_map[:, 177:].any()
    assert not density[89:].any()


def test_blend_marks_the_peak_and_leaves_the_rest() -> None:
    """The overlay must be strong where attention is and clear where there is none."""
    frame = np.full((448, 896, 3), 100, np.uint8)
    drawn = blend(frame, peak(1, 5), EVEN, OverlayOptions(opacity=1.0))
    assert (drawn[448 // 2 :] == 100).all()
    # The centre of cell (1, 5) lies on the border of two pixels, a 128th of a cell from each.
    strongest = colour_table("plasma")[255]
    np.testing.assert_allclose(drawn[80, 673], strongest, atol=8)


def test_colour_is_attention_alone() -> None:
    """On a warm scene warm colours would not be seen; under --no-grey the scene keeps its own."""
    frame = np.full((70, 140, 3), (40, 90, 160), np.uint8)
    grey, own = (blend(frame, peak(1, 5), EVEN, OverlayOptions(grey=it)) for it in (True, False))
    assert (np.ptp(grey[60:].astype(int), axis=2) == 0).all()
    assert np.ptp(grey[12, 105].astype(int)) > 60
    np.testing.assert_array_equal(own[60:], frame[60:])


def test_one_scale_for_a_video_keeps_weak_frames_weak() -> None:
    """With a scale of its own a frame of nearly even attention would look as sure as any."""
    nearly = np.full((7, 7), 0.9 / 48, np.float32)
    nearly[3, 3] = 0.1
    maps = np.stack([peak(3, 3), nearly])
    frame = np.full((70, 70, 3), 100, np.uint8)
    change = {}
    for scale in ("video", "fixed", "frame"):
        options = OverlayOptions(scale=scale, scale_limit=20)  # type: ignore[arg-type]
        drawn = blend(frame, maps[1], EVEN, options, colour_limit(maps, options))
        change[scale] = np.abs(drawn.astype(int) - 100).sum()
    assert 0 < change["video"] < change["fixed"] < change["frame"]


def test_hardly_uneven_attention_stays_pale() -> None:
    """Stretched to the full scale, an untrained ranker's attention would look like a finding."""
    nearly = np.full((1, 7, 7), 1 / 49, np.float32) * np.linspace(0.99, 1.01, 7, dtype=np.float32)
    assert colour_limit(nearly, OverlayOptions()) == 2.0


def test_entropy_runs_from_0_to_1() -> None:
    """Entropy says how spread attention is: 0 for one cell, 1 for all alike."""
    maps = np.stack([peak(0, 0), np.full((7, 7), 1 / 49)])
    np.testing.assert_allclose(entropy(maps), [0, 1], atol=1e-6)  # float32 maps


def test_unknown_colours_are_one_clear_line() -> None:
    """A mistyped colour map must name the option, not a library's dictionary."""
    with pytest.raises(InputError, match="--colours"):
        colour_table("infrno")

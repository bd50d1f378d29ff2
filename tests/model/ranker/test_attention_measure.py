"""Attention against known boxes: mass inside them, and the pointing game."""

from __future__ import annotations

import numpy as np
import pytest

from model.features.geometry import MapGeometry
from model.ranker.attention_measure import agreement, box_coverage, chance, compare


def test_attention_measures_count_what_lies_in_the_box():
    """Fails if mass, pointing or chance is measured against the wrong cells."""
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.25, 1, 0.75]])
    np.testing.assert_allclose(box_coverage(boxes, 2, 2)[0], [[1, 0], [0, 0]])
    np.testing.assert_allclose(box_coverage(boxes, 2, 2)[1], [[0, 0.5], [0, 0.5]])
    attention = np.array([[[0.7, 0.1], [0.1, 0.1]], [[0.0, 0.0], [1.0, 0.0]]])
    result = agreement(attention, boxes)
    assert result.mass == pytest.approx((0.7 + 0) / 2)
    assert (result.pointing, result.maps) == (0.5, 2)
    assert chance(boxes, 2, 2).mass == pytest.approx(0.25)
    # Evenly spread attention points everywhere: a cell in four, and the two whose middles are in.
    assert chance(boxes, 2, 2).pointing == pytest.approx((0.25 + 0.5) / 2)
    assert set(compare({"trained": attention}, boxes)) == {"trained", "chance"}


def test_attention_measures_follow_the_cells_of_the_map():
    """Fails if cells are taken for equal tiles, or a map that ends short is stretched."""
    # 224 px: 3 cells around 16.5, 80.5 and 144.5 px, the last ends where a dropped one begins.
    geometry = MapGeometry(first=16.5 / 224, cell=64 / 224, edge=176.5 / 224)
    last, middle = np.zeros((1, 3, 3)), np.zeros((1, 3, 3))
    last[0, 2, 2] = middle[0, 1, 1] = 1
    low, high = 112.5 / 224, 176.5 / 224
    planted = np.array([[low, low, high, high]])  # exactly the last cell
    assert agreement(last, planted, geometry).mass == pytest.approx(1)
    assert agreement(last, planted, geometry).pointing == 1
    assert agreement(middle, planted, geometry).mass == pytest.approx(0, abs=1e-12)
    assert agreement(last, planted).mass < 0.3  # stretched: the cell is 149 to 224 px
    assert agreement(last, planted).pointing == 0  # and its middle at 187 px
    assert chance(planted, 3, 3, geometry).mass == pytest.approx(1 / 9)
    beyond = np.array([[high, high, 1, 1]])  # in the row and column that ConvFusion drops
    assert agreement(last, beyond, geometry).mass == pytest.approx(0, abs=1e-12)  # rounding
    assert agreement(last, beyond, geometry).pointing == 0
    assert compare({"trained": last}, planted, geometry)["trained"].pointing == 1


def test_cells_of_a_map_share_the_frame_among_them():
    """Fails if a part of the frame is no cell's, or two cells': mass would be lost or doubled."""
    geometry = MapGeometry(first=16.5 / 448, cell=64 / 448)
    whole_frame = np.array([[0.0, 0.0, 1.0, 1.0]])
    np.testing.assert_allclose(box_coverage(whole_frame, 7, 7, geometry), 1)
    left = np.array([[0.0, 0.0, 48.5 / 448, 1.0]])  # up to half way between the first two centres
    np.testing.assert_allclose(box_coverage(left, 7, 7, geometry)[0, 0], [1, *[0] * 6], atol=1e-12)


def test_attention_measures_leave_out_unknown_boxes():
    """Fails if a frame without a box counts as a miss, or bad input passes."""
    boxes = np.array([[0, 0, 1, 1], [np.nan] * 4])
    assert agreement(np.ones((2, 2, 2)), boxes) == agreement(np.ones((1, 2, 2)), boxes[:1])
    with pytest.raises(ValueError, match="no map has a box"):
        agreement(np.ones((1, 2, 2)), boxes[1:])
    with pytest.raises(ValueError, match="left < right"):
        box_coverage(np.array([[0.5, 0, 0.2, 1]]), 2, 2)
    with pytest.raises(ValueError, match="expected"):
        agreement(-np.ones((1, 2, 2)), boxes[:1])

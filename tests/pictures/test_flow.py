"""The colours of optical flow: that they say which way and how fast."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from skimage.color import rgb2lab

from pipeline.pictures.flow import colours, draw_flow, png, wheel

DIRECTIONS = {
    "right": (1, 0),
    "right and down": (1, 1),
    "down": (0, 1),
    "down and left": (-1, 1),
    "left": (-1, 0),
    "left and up": (-1, -1),
    "up": (0, -1),
    "up and right": (1, -1),
}


def colour(u: float, v: float, full: float = 1.0) -> np.ndarray:
    field = np.array([[[u]], [[v]]], dtype=np.float32)
    return colours(field, full)[0, 0].astype(int)


def on_the_rim(speed: float, count: int = 72) -> np.ndarray:
    angle = np.arange(count) / count * 2 * math.pi
    return colours(speed * np.stack([np.cos(angle), np.sin(angle)])[:, None], 1.0)[0]


def test_zero_flow_is_white() -> None:
    """Still pixels would look as if they moved."""
    assert (colours(np.zeros((2, 3, 4), np.float32), 2.0) == 255).all()


def test_hues_say_the_direction() -> None:
    """Swapped channels or a v that points up would turn or mirror the wheel."""
    right, left = colour(1, 0), colour(-1, 0)
    down, up = colour(0, 1), colour(0, -1)
    assert right.argmax() == 0  # red
    assert right[0] > right[2] + 60
    assert left.argmin() == 0  # blue-green
    assert left[0] < left[1] - 60
    assert down.argmin() == 2  # yellow-green
    assert down[1] > down[2] + 60
    assert (up.argmax(), up.argmin()) == (2, 1)  # violet


@pytest.mark.parametrize("name", DIRECTIONS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_the_legend_has_the_colour_of_each_planted_motion(name: str, share: float) -> None:
    """A legend that is turned, mirrored or of another scale than the field misleads."""
    u, v = (share * part / math.hypot(*DIRECTIONS[name]) for part in DIRECTIONS[name])
    side = 801
    legend = wheel(side)
    x, y = (int((part + 1) / 2 * side) for part in (u, v))
    # The pixel under a motion is at most half a pixel of 801 off, a change of under 2 levels.
    np.testing.assert_allclose(legend[y, x, :3].astype(int), colour(7 * u, 7 * v, 7.0), atol=2)
    assert legend[y, x, 3] == 255


def test_the_legend_is_clear_beyond_full_colour() -> None:
    """Corners of a square wheel would show speeds that the picture does not tell apart."""
    legend = wheel(101)
    assert legend[0, 0, 3] == 0
    assert legend[50, 100, 3] == 255


def test_faster_is_farther_from_white_in_every_direction() -> None:
    """A faster pixel that looks slower than its neighbour makes magnitudes unreadable."""
    speeds = np.linspace(0, 1, 11)
    lab = np.stack([rgb2lab(on_the_rim(speed)) for speed in speeds])
    white = rgb2lab(np.array([[255, 255, 255]], np.uint8))[0]
    distance = np.linalg.norm(lab - white, axis=-1)
    assert (np.diff(distance, axis=0) > 0).all()


def test_neighbouring_directions_differ_everywhere() -> None:
    """A flat stretch of the wheel would hide a change of direction."""
    lab = rgb2lab(on_the_rim(1.0))
    step = np.linalg.norm(lab - np.roll(lab, 1, axis=0), axis=-1)
    assert step.min() > 0.3  # Baker et al.'s wheel changes slowly around red and blue


def test_speeds_beyond_full_colour_look_like_it() -> None:
    """Wrapping around would make the fastest pixels look slow."""
    assert colour(50, 0, 2.0).tolist() == colour(2, 0, 2.0).tolist()


def test_what_is_no_number_is_black() -> None:
    """NaN cast to uint8 would be an arbitrary colour that looks like motion."""
    field = np.array([[[np.nan, np.inf, 0]], [[0, 0, 0]]], dtype=np.float32)
    assert colours(field, 1.0)[0].tolist() == [[0, 0, 0], [0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize("full", [0.0, -1.0, math.nan])
def test_full_colour_needs_a_speed(full: float) -> None:
    """Dividing by zero would paint everything at full colour."""
    with pytest.raises(ValueError, match="above 0 px"):
        colours(np.zeros((2, 2, 2), np.float32), full)


def drawn_axes(frame: np.ndarray | None) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw a flow field that moves in its top right corner only: the picture and its panels."""
    field = np.zeros((2, 40, 60), np.float32)
    field[0, :10, 50:] = 5.0
    figure = draw_flow(field, 5.0, frame=frame, notes=["$name$ " * 40])
    content = np.frombuffer(png(figure), np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR)[:, :, ::-1].astype(int)
    panels = []
    for axes in figure.axes:
        box = axes.get_window_extent()
        top, bottom = (picture.shape[0] - edge for edge in (box.y1, box.y0))
        panels.append(
            picture[round(top) + 3 : round(bottom) - 3, round(box.x0) + 3 : round(box.x1) - 3]
        )
    return picture, panels


def test_flow_is_drawn_at_its_place_next_to_its_frame() -> None:
    """A picture mirrored or transposed would put the tool's motion on the other hand."""
    frame = np.zeros((80, 120, 3), np.uint8)
    frame[:, :30, 2] = 255  # blue at the left
    _, (shown, flow, legend) = drawn_axes(frame)
    height, width = shown.shape[:2]
    assert (shown[:, : width // 5] == [0, 0, 255]).all()
    assert (shown[:, width // 3 :] == 0).all()
    assert flow.shape[0] == shown.shape[0]
    assert abs(flow.shape[1] - shown.shape[1]) <= 1  # px, rounded
    moving = (flow != 255).any(axis=-1)
    height, width = moving.shape
    assert moving[: height // 5, -width // 7 :].all()
    assert not moving[height // 3 :].any()
    assert not moving[:, : width * 3 // 4].any()
    yellow = legend[-12, legend.shape[1] // 2]  # of the wheel, at its lower edge
    assert np.abs(yellow - colour(0, 1)).max() <= 40  # 12 px of 100 from the rim


def test_flow_without_a_frame_has_its_scale_in_the_title() -> None:
    """A colour without its speed says nothing."""
    figure = draw_flow(np.ones((2, 9, 16)), 2.5, unit="px in 2 frames")
    assert [axes.get_title() for axes in figure.axes] == [
        "optical flow, full colour at 2.5 px in 2 frames",
        "rim: 2.5 px in 2 frames\nor faster",
    ]

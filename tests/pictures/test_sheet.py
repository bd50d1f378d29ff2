"""Contact sheets: size, text and place of the tiles."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.features.geometry import MapGeometry
from pipeline.pictures.attention import Look
from pipeline.pictures.flow import png
from pipeline.pictures.options import OverlayOptions, SheetOptions
from pipeline.pictures.sheet import draw_sheet, draw_tiles, pixels


def look_of(width: int, height: int, *, video: str = "v.mp4", flow: bool = True) -> Look:
    rng = np.random.default_rng(0)
    attention = rng.random((4, 7, 7)).astype(np.float32)
    return Look(
        video=video,
        headline="score +0.412 · rank 3 of 25 · better than 91\xa0% of the training videos",
        score=-0.0234,
        times=np.array([0.3, 2.0, 3.7, 5.4]),
        running=np.array([-0.0274, -0.0266, -0.0259, -0.0234]),
        attention=attention / attention.sum(axis=(1, 2), keepdims=True),
        geometry=MapGeometry.of(448, "conv5"),
        frames=list(rng.integers(0, 255, (4, height, width, 3)).astype(np.uint8)),
        flow=np.ones((4, 2, height // 4, width // 4), np.float32) if flow else None,
    )


@pytest.mark.parametrize(("width", "height"), [(340, 256), (256, 340)])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_tiles_stand_in_the_sheet_unchanged(width: int, height: int, columns: int) -> None:
    """Resampled tiles would be blurred; a tile at another place would have another's caption."""
    look = look_of(width, height)
    sheet = pixels(draw_sheet(look, SheetOptions(columns=columns)))
    tiles = draw_tiles(look, OverlayOptions())
    places = []
    for tile in tiles:
        match = cv2.matchTemplate(np.ascontiguousarray(sheet), tile, cv2.TM_SQDIFF_NORMED)
        lowest, _, place, _ = cv2.minMaxLoc(match)
        assert lowest < 1e-6
        places.append(place)
    assert len({x for x, _ in places}) == columns
    assert places == sorted(places, key=lambda place: (place[1], place[0]))


def test_a_long_or_strange_name_stays_in_the_sheet() -> None:
    """A long name must not run out of the sheet, nor a dollar sign or a tab end the drawing."""
    look = look_of(340, 256, video="$a_b$ 名前\t" + "a very long name " * 20 + "end.mp4")
    figure = draw_sheet(look, SheetOptions(columns=2))
    sheet = pixels(figure)
    (name, *_), width = figure.subfigs[0].texts, sheet.shape[1]
    assert "…" in name.get_text()
    assert name.get_text().endswith("end.mp4")
    assert "\t" not in name.get_text()
    assert (sheet[:, -8:] == 255).all()
    for part in figure.subfigs:
        for text in part.texts:
            assert text.get_window_extent().x1 < width, text.get_text()


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("flow", [True, False])
def test_all_text_is_in_its_part(columns: int, flow: bool) -> None:
    """Text over a tile, or cut off below, cannot be read."""
    figure = draw_sheet(look_of(256, 340, flow=flow), SheetOptions(columns=columns))
    png(figure)
    for part in figure.subfigs:
        for text in part.texts:
            box = text.get_window_extent()
            assert box.y0 >= part.bbox.y0 - 1, text.get_text()
            assert box.x1 < part.bbox.x1, text.get_text()
    chart = figure.subfigs[1]
    for axes in chart.axes:
        box = axes.get_tightbbox()
        assert box is not None
        assert chart.bbox.x0 < box.x0
        assert box.x1 < chart.bbox.x1


def test_the_same_look_gives_the_same_file() -> None:
    """A PNG with a date or another state in it would change at every call."""
    look = look_of(340, 256)
    assert png(draw_sheet(look)) == png(draw_sheet(look))

"""explain as a user runs it: attention must be drawn where the patch is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.video.reading import read_frames
from model.features.geometry import MapGeometry
from pipeline.explain.command import explain_cached
from pipeline.explain.look import Look
from pipeline.explain.options import ExplainOptions
from pipeline.pictures.attention import OverlayOptions
from pipeline.pictures.film import attention_at, gif_fps, plan_timeline
from pipeline.pictures.legend import colour_bar
from pipeline.pictures.sheet import draw_sheet
from pipeline.pictures.text import shortened, wrapped
from pipeline.pictures.writing import write_pictures
from tests.helpers.scored_material import (
    FRAMES,
    NEW,
    World,
    done,
    frames_of,
    material,
    patch_box,
    pipeline,
    train,
    write_new,
)

SIDE = 360  # of the moving overlay, px


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return material(tmp_path_factory)


@pytest.fixture(scope="module")
def drawn(world: World) -> Path:
    """Overlays of the three new videos by the planted run, through the command line."""
    for name in NEW:
        write_new(world.root / "new", name)
    done(
        *("explain", world.planted, world.root / "new", "-o", world.root / "drawn"),
        *("--cache", world.cache, "-j", 1, "--device", "cpu", "--video-side", SIDE),
    )
    return world.root / "drawn"


def colourful(picture: np.ndarray) -> np.ndarray:
    """How far from grey each pixel is; the videos are grey, so only attention has colour."""
    return (picture.max(axis=2).astype(int) - picture.min(axis=2)).astype(np.float32)


def hottest(picture: np.ndarray) -> tuple[float, float]:
    """Middle of the most colourful pixels, as shares of width and height."""
    # A compressed video smears colour over blocks of 16 px.
    smooth = cv2.GaussianBlur(colourful(picture), (0, 0), 6)
    rows, columns = np.nonzero(smooth > 0.9 * smooth.max())
    return (columns.mean() + 0.5) / picture.shape[1], (rows.mean() + 0.5) / picture.shape[0]


def assert_on_patch(picture: np.ndarray, name: str) -> None:
    width, height, left, top, right, lower = patch_box(name)
    x, y = hottest(picture)
    assert left / width < x < right / width
    assert top / height < y < lower / height


@pytest.mark.slow
@pytest.mark.parametrize("name", NEW)
def test_the_moving_overlay_lights_the_planted_patch(drawn: Path, name: str, world: World) -> None:
    """Axes swapped, a picture turned twice, or a map shifted would point beside the patch."""
    shown = next(iter(read_frames(world.root / "new" / name, [0])))[1]
    assert np.abs(shown.astype(int) - frames_of(name)[0]).mean() < 8  # MPEG-4 at low rate
    path = drawn / f"{name}.attention.mp4"
    frames = [frame for _, frame in read_frames(path, range(FRAMES))]
    width, height = patch_box(name)[:2]
    high = round(SIDE * height / max(width, height))
    assert frames[0].shape[1] == round(SIDE * width / max(width, height))
    for frame in (frames[2], frames[-1]):
        assert_on_patch(frame[:high], name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEW)
def test_the_contact_sheet_lights_the_planted_patch(drawn: Path, name: str) -> None:
    """The sheet's overlay, found beside the plain frame that it belongs to."""
    sheet = cv2.imread(str(drawn / f"{name}.attention.png"))
    width, height = patch_box(name)[:2]
    scale = min(320 / width, 360 / height)
    size = round(width * scale), round(height * scale)
    small = (size[0] // 2 - 2, size[1] // 2 - 2)
    plain = cv2.resize(frames_of(name)[FRAMES // 2], small, interpolation=cv2.INTER_AREA)
    match = cv2.matchTemplate(sheet, plain, cv2.TM_SQDIFF)
    _, _, (x, y), _ = cv2.minMaxLoc(match)
    left, top = (x - 4 - size[0], y) if height > width else (x, y - 4 - size[1])
    assert min(left, top) >= 0
    assert_on_patch(sheet[top : top + size[1], left : left + size[0]], name)


@pytest.mark.slow
def test_other_formats_and_cached_features(world: World, drawn: Path) -> None:
    """A gif must last as long as the video; webm must play; caches given must be enough."""
    source = world.videos / "a.mp4"
    for kind in ("gif", "webm"):
        done(
            *("explain", world.planted, source, "--features", world.features),
            *("--flow", world.flow, "--format", kind, "-o", world.root / kind, "--device", "cpu"),
            *("--video-side", 120, "--scale", "fixed", "--between", "hold"),
        )
    with Image.open(world.root / "gif" / "a.mp4.attention.gif") as gif:
        lasted = 0
        for number in range(gif.n_frames):
            gif.seek(number)
            lasted += gif.info["duration"]
    assert lasted == 1000 * FRAMES / 10
    frames = list(read_frames(world.root / "webm" / "a.mp4.attention.webm", range(FRAMES)))
    assert frames[0][1].shape[1] == 120


@pytest.mark.slow
def test_a_ranker_without_attention_is_one_line(world: World, tmp_path: Path) -> None:
    """Before anything is computed the user must hear that there is nothing to show."""
    train(world, tmp_path / "run", "--variant", "no_att")
    result = pipeline("explain", tmp_path / "run", world.videos, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "variant no_att has no attention" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_one_bad_video_does_not_stop_the_others(world: World, tmp_path: Path) -> None:
    """The rest must be drawn, the bad one listed, and the exit code tell."""
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    result = pipeline(
        *("explain", world.run, tmp_path / "bad.mp4", world.videos / "a.mp4"),
        *("-o", tmp_path / "out", "--format", "none", "--device", "cpu", "-j", 1),
        *("--features", world.features, "--flow", world.flow, "--cache", tmp_path / "cache"),
    )
    assert result.exit_code == 1
    assert "bad.mp4" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mp4.attention.png"]


@pytest.mark.slow
def test_sheets_from_python_without_flow(world: World) -> None:
    """The report draws sheets from caches, and flow may have been deleted."""
    look = explain_cached(world.planted, "a.mp4", world.videos / "a.mp4", world.features)
    assert look.flow is None
    sheet = draw_sheet(look, ExplainOptions(columns=1))
    assert sheet.shape[1] < 400
    with_flow = explain_cached(
        world.planted, "a.mp4", world.videos / "a.mp4", world.features, world.flow
    )
    assert with_flow.flow is not None
    assert with_flow.flow.shape[:2] == (2, 2)


# --- time ---


def test_constant_rate_shows_each_frame_once() -> None:
    """A frame lost or doubled would change the speed."""
    line = plan_timeline(np.arange(50) / 29.97)
    assert line.fps == pytest.approx(29.97)
    assert (line.repeats == 1).all()
    assert line.frames.tolist() == list(range(50))


def test_variable_rate_keeps_the_time() -> None:
    """Frames that stay longer must be shown longer: each starts within half a picture."""
    times = 3.0 + np.cumsum([0, 0.04, 0.04, 0.2, 0.04, 0.04, 0.04, 0.53, 0.04])
    line = plan_timeline(times)
    assert line.fps == pytest.approx(25)
    starts = np.concatenate([[0], np.cumsum(line.repeats)[:-1]]) / line.fps
    np.testing.assert_allclose(starts, times - 3.0, atol=0.5 / 25 + 1e-9)
    assert line.repeats.sum() == 25  # 0.97 s and the last frame's 0.04 s, at 25 a second


def test_a_lower_rate_drops_frames_but_not_time() -> None:
    """A gif shows fewer pictures and must last as long."""
    line = plan_timeline(np.arange(100) / 50, highest_fps=10)
    assert line.repeats.sum() / line.fps == pytest.approx(2.0)
    assert len(line.frames) == 20


@pytest.mark.parametrize("fps", [7, 10, 12.5, 29.97, 60])
def test_a_gif_keeps_the_time(fps: float) -> None:
    """A gif counts hundredths of a second: other rates would be rounded, and run too fast."""
    times = np.arange(round(20 * fps)) / fps
    rate = gif_fps(times)
    assert rate <= min(fps, 12.5) + 1e-9
    assert 100 / rate == pytest.approx(round(100 / rate), abs=1e-9)
    lasting = plan_timeline(times, rate).repeats.sum() / rate
    assert lasting == pytest.approx(len(times) / fps, abs=1 / rate)


def test_a_gif_holds_the_legends_colours(tmp_path: Path) -> None:
    """256 colours chosen for the picture alone would turn the legend's bright end grey."""
    rng = np.random.default_rng(0)
    tints = np.array([[1.0, 1.0, 1.0], [1.0, 0.9, 0.97], [1.0, 0.8, 0.95]])
    grey = rng.integers(0, 255, (240, 320, 1))
    picture = (grey * tints[rng.integers(0, 3, (240, 320))]).astype(np.uint8)
    bar = colour_bar(OverlayOptions(), 64, 10)
    picture[-10:, :64] = bar[:, :, ::-1]
    write_pictures(tmp_path / "a.gif", iter([(picture, 1)]), 10, "gif", OverlayOptions())
    with Image.open(tmp_path / "a.gif") as gif:
        shown = np.asarray(gif.convert("RGB"))[-10:, :64].astype(int)
    # 256 colours have to do for the picture too.
    assert np.abs(shown - bar).max() < 24


def test_stamps_in_whole_milliseconds_keep_the_rate() -> None:
    """Matroska rounds 1/30 s to 33 or 34 ms: taken for 30.3 a second, frames would be doubled."""
    line = plan_timeline(np.round(np.arange(300) / 30, 3))
    assert line.fps == pytest.approx(30, rel=1e-3)
    assert (line.repeats == 1).all()


def test_one_frame_has_a_duration() -> None:
    """A video of one frame, or without time stamps, must not divide by zero."""
    assert plan_timeline(np.array([0.0])).repeats.tolist() == [1]


def look_of(attention: np.ndarray, times: np.ndarray) -> Look:
    steps = len(times)
    return Look(
        "v", Path("v"), 0.0, None, "", np.arange(steps), times, attention, np.zeros(steps),
        None, None, MapGeometry.of(128, "conv4"),
    )  # fmt: skip


def test_attention_between_snippets() -> None:
    """Linear must pass through every snippet's own map; hold must show the nearer one."""
    attention = np.stack([np.full((2, 2), value, np.float32) for value in (0.0, 1.0, 1.0, 3.0)])
    look = look_of(attention, np.array([1.0, 2.0, 2.0, 4.0]))  # a short video repeats a snippet
    linear = [float(attention_at(look, t, "linear")[0, 0]) for t in (0, 1, 1.5, 2, 3, 4, 9)]
    assert linear == [0, 0, 0.5, 1, 2, 3, 3]
    hold = [float(attention_at(look, t, "hold")[0, 0]) for t in (0, 1.4, 1.6, 2.9, 3.1, 9)]
    assert hold == [0, 0, 1, 1, 3, 3]


# --- text ---


def test_long_and_strange_names_fit() -> None:
    """A long name must not run out of the sheet, nor a control character end the drawing."""
    name = shortened("a very long name " * 20 + "end.mp4", 30, 400)
    assert "…" in name
    assert name.endswith("end.mp4")
    assert shortened("tab\there", 20, 400) == "tab�here"
    assert all(len(line) < 60 for line in wrapped("word " * 100, 20, 300))

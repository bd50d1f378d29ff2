"""explain as a user runs it: attention must be drawn where the patch is."""

from __future__ import annotations

import errno
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from data.video.reading import read_frames
from pipeline.explain.look import look_at_cached
from pipeline.pictures.options import SheetOptions
from pipeline.pictures.sheet import draw_sheet, pixels
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
from tests.helpers.shims import LITTLE_ROOM, compiled, run

SIDE = 360  # of the film, px


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return material(tmp_path_factory)


@pytest.fixture(scope="module")
def drawn(world: World) -> Path:
    """Sheets and films of the three new videos by the planted run, through the command line."""
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
def test_the_film_lights_the_planted_patch(drawn: Path, name: str, world: World) -> None:
    """Axes swapped, a picture turned twice, or a map shifted would point next to the patch."""
    first = next(iter(read_frames(world.root / "new" / name, [0])))[1]
    assert np.abs(first.astype(int) - frames_of(name)[0]).mean() < 8  # MPEG-4 at a low rate
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
    """The sheet's overlay, found above or to the left of the plain frame."""
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
def test_the_film_plays_everywhere(world: World) -> None:
    """Only H.264 in yuv420p with its index at the front plays in every browser and on phones."""
    source = world.videos / "a.mp4"
    done(
        *("explain", world.planted, source, "--features", world.features, "-j", 1),
        *("--flow", world.flow, "-o", world.root / "film", "--device", "cpu"),
        *("--video-side", 120, "--scale", "fixed", "--between", "hold"),
    )
    path = world.root / "film" / "a.mp4.attention.mp4"
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as film:
        (stream,) = film.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.width == 120
        assert stream.frames == FRAMES
        assert float(stream.duration * stream.time_base) == pytest.approx(FRAMES / 10)


@pytest.mark.slow
def test_a_ranker_without_attention_is_one_line(world: World, tmp_path: Path) -> None:
    """The user must learn that there is nothing to show before anything is computed."""
    train(world, tmp_path / "run", "--variant", "no_att")
    result = pipeline("explain", tmp_path / "run", world.videos, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "variant no_att has no attention" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_one_bad_video_does_not_stop_the_others(world: World, tmp_path: Path) -> None:
    """The rest must be drawn, the bad one listed, and the exit code must be 1."""
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    result = pipeline(
        *("explain", world.run, tmp_path / "bad.mp4", world.videos / "a.mp4"),
        *("-o", tmp_path / "out", "--no-film", "--device", "cpu", "-j", 1),
        *("--features", world.features, "--flow", world.flow, "--cache", tmp_path / "cache"),
    )
    assert result.exit_code == 1
    assert "bad.mp4" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mp4.attention.png"]


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [0, 140_000], ids=["sheet", "film"])
def test_a_full_disk_is_a_failed_video_and_leaves_nothing_half(
    world: World, tmp_path: Path, allowed: int
) -> None:
    """Half a film under its final name, or an unexpected error of the encoder."""
    room = {"WRITE_ERROR": str(errno.ENOSPC), "ALLOWED": str(allowed)}
    shown = ("explain", world.run, world.videos / "a.mp4", "-o", tmp_path / "shown", "-q")
    caches = ("--features", world.features, "--flow", world.flow, "--device", "cpu", "-j", 1)
    ended = run(*shown, *caches, **room, **compiled(LITTLE_ROOM, tmp_path))
    assert ended.returncode == 1, ended.stderr
    kind = "mp4" if allowed else "png"
    line = f"a.mp4.attention.{kind}: cannot be written (the disk is full"
    assert line in ended.stderr
    assert not [x for x in ended.stderr.splitlines() if not x.startswith(("error: ", "warning: "))]
    left = {path.name for path in (tmp_path / "shown").rglob("*") if path.is_file()}
    assert left == ({"a.mp4.attention.png"} if allowed else set())


def test_a_look_from_caches_with_and_without_flow(world: World) -> None:
    """The report draws sheets from caches, and flow may have been deleted."""
    cached = (world.planted, "a.mp4", world.videos / "a.mp4", world.features)
    look = look_at_cached(*cached)
    assert look.flow is None
    assert pixels(draw_sheet(look, SheetOptions(columns=1))).shape[1] < 400
    with_flow = look_at_cached(*cached, world.flow)
    assert with_flow.flow is not None
    assert with_flow.flow.shape[:2] == (2, 2)

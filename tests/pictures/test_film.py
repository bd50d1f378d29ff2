"""Films: time is the video's own, and a film is whole or absent."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.errors import InputError
from model.features.geometry import MapGeometry
from pipeline.pictures.attention import FilmOptions, Look, OverlayOptions, blend
from pipeline.pictures.film import attention_at, plan_timeline, write_film


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


def test_a_high_rate_drops_frames_but_not_time() -> None:
    """At most 60 pictures a second are shown, and the film must last as long as the video."""
    line = plan_timeline(np.arange(240) / 120)
    assert line.fps == pytest.approx(60)
    assert line.repeats.sum() / line.fps == pytest.approx(2.0)
    assert len(line.frames) == 120


def test_stamps_in_whole_milliseconds_keep_the_rate() -> None:
    """Matroska rounds 1/30 s to 33 or 34 ms: taken for 30.3 a second, frames would be doubled."""
    line = plan_timeline(np.round(np.arange(300) / 30, 3))
    assert line.fps == pytest.approx(30, rel=1e-3)
    assert (line.repeats == 1).all()


def test_one_frame_has_a_duration() -> None:
    """A video of one frame, or without time stamps, must not divide by zero."""
    assert plan_timeline(np.array([0.0])).repeats.tolist() == [1]


def look_of(attention: np.ndarray, times: np.ndarray, width: int = 64, height: int = 48) -> Look:
    steps = len(times)
    return Look(
        video="v.mp4",
        headline="score +0.000",
        score=0.0,
        times=times,
        running=np.zeros(steps),
        attention=attention,
        geometry=MapGeometry.of(128, "conv4"),
        frames=[np.full((height, width, 3), 90, np.uint8)] * steps,
    )


def test_attention_between_snippets() -> None:
    """Linear must pass through every snippet's own map; hold must show the nearer one."""
    attention = np.stack([np.full((2, 2), value, np.float32) for value in (0.0, 1.0, 1.0, 3.0)])
    look = look_of(attention, np.array([1.0, 2.0, 2.0, 4.0]))  # a short video repeats a snippet
    linear = [float(attention_at(look, t, "linear")[0, 0]) for t in (0, 1, 1.5, 2, 3, 4, 9)]
    assert linear == [0, 0, 0.5, 1, 2, 3, 3]
    hold = [float(attention_at(look, t, "hold")[0, 0]) for t in (0, 1.4, 1.6, 2.9, 3.1, 9)]
    assert hold == [0, 0, 1, 1, 3, 3]


def test_a_film_has_each_picture_as_often_as_its_time_says(tmp_path: Path) -> None:
    """A picture lost at the end, or shown once too often, shifts everything after it."""
    times = np.array([0.0, 0.1, 0.2, 0.5, 0.6])
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (10, 60, 110, 160, 210)]
    even = look_of(np.full((2, 4, 4), 1 / 16, np.float32), np.array([0.1, 0.5]))
    path = tmp_path / "film.mp4"
    options = FilmOptions(video_side=64)
    timeline = plan_timeline(times)
    write_film(path, even, timeline, iter(frames), options=options, overlay=OverlayOptions())
    video, levels = cv2.VideoCapture(str(path)), []
    while (frame := video.read())[0]:
        levels.append(float(frame[1][:48].mean()))
    np.testing.assert_allclose(levels, [10, 60, 110, 110, 110, 160, 210], atol=4)  # H.264
    video.release()


def test_a_film_shows_the_colours_of_the_sheet(tmp_path: Path) -> None:
    """Red and blue exchanged, or another matrix of colours, would contradict the legend."""
    attention = np.zeros((1, 4, 4), np.float32)
    attention[0, 1, 2] = 1
    look = look_of(attention, np.array([0.0]), 192, 128)
    path = tmp_path / "film.mp4"
    options, overlay = FilmOptions(video_side=192), OverlayOptions(opacity=1.0)
    timeline = plan_timeline(np.arange(4) / 10)
    write_film(path, look, timeline, look.frames * 4, options=options, overlay=overlay)
    frame = cv2.VideoCapture(str(path)).read()[1][:128].astype(int)
    drawn = blend(look.frames[0], attention[0], look.geometry, overlay)
    assert np.abs(frame - drawn).mean() < 4  # chroma has half the resolution in yuv420p


def test_an_interrupted_film_leaves_nothing(tmp_path: Path) -> None:
    """Half a film under the final name would pass for the whole one."""

    def frames() -> object:
        yield np.zeros((48, 64, 3), np.uint8)
        raise InputError("frame 1 cannot be read")

    even = look_of(np.full((1, 4, 4), 1 / 16, np.float32), np.array([0.0]))
    timeline = plan_timeline(np.arange(5) / 10)
    with pytest.raises(InputError, match="frame 1"):
        write_film(
            tmp_path / "film.mp4",
            even,
            timeline,
            frames(),
            options=FilmOptions(),
            overlay=OverlayOptions(),
        )
    assert list(tmp_path.iterdir()) == []

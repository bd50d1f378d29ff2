"""Films: time is the video's own, and a film is whole or absent."""

from __future__ import annotations

import base64
from pathlib import Path

import av
import numpy as np
import pytest

from data.errors import InputError
from model.features.geometry import MapGeometry
from pipeline.pictures.attention import Look, blend
from pipeline.pictures.film import attention_at, plan_timeline, write_film
from pipeline.pictures.options import FilmOptions, OverlayOptions
from tests.helpers.report_html import BROWSER, in_browser


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


def decoded(path: Path) -> list[np.ndarray]:
    """Return the pictures of a film, BGR."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def grey_film(folder: Path) -> Path:
    """Write a film of seven grey pictures, ten a second."""
    frames = [np.full((48, 64, 3), 90, np.uint8)] * 7
    even = look_of(np.full((1, 4, 4), 1 / 16, np.float32), np.array([0.0]))
    path = folder / "film.mp4"
    timeline = plan_timeline(np.arange(7) / 10)
    options = FilmOptions(video_side=64)
    write_film(path, even, timeline, iter(frames), options=options, overlay=OverlayOptions())
    return path


# Writes width, seconds and whether a picture in the film's middle was drawn in its grey.
PROBE = """
var film = document.querySelector("video");
function say(text) {
  var out = document.createElement("pre");
  out.textContent = "STATE " + text + " END";
  document.body.appendChild(out);
}
film.onerror = function () { say("cannot be decoded"); };
film.onseeked = function () {
  var canvas = document.createElement("canvas");
  canvas.width = film.videoWidth;
  canvas.height = film.videoHeight;
  var pen = canvas.getContext("2d");
  pen.drawImage(film, 0, 0);
  var level = pen.getImageData(30, 20, 1, 1).data[0];
  var grey = Math.abs(level - 90) < 8 ? "ok" : level;
  say([film.videoWidth, Math.round(film.duration * 10) / 10, grey].join(" "));
};
function seek() { film.currentTime = 0.35; }
if (film.readyState > 1) { seek(); } else { film.onloadeddata = seek; }
"""


def test_a_film_has_each_picture_as_often_as_its_time_says(tmp_path: Path) -> None:
    """A picture lost at the end, or shown once too often, shifts everything after it."""
    times = np.array([0.0, 0.1, 0.2, 0.5, 0.6])
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (10, 60, 110, 160, 210)]
    even = look_of(np.full((2, 4, 4), 1 / 16, np.float32), np.array([0.1, 0.5]))
    path = tmp_path / "film.mp4"
    options = FilmOptions(video_side=64)
    timeline = plan_timeline(times)
    write_film(path, even, timeline, iter(frames), options=options, overlay=OverlayOptions())
    levels = [float(frame[:48].mean()) for frame in decoded(path)]
    np.testing.assert_allclose(levels, [10, 60, 110, 110, 110, 160, 210], atol=4)  # H.264


def test_a_film_shows_the_colours_of_the_sheet(tmp_path: Path) -> None:
    """Red and blue exchanged, or another matrix of colours, would contradict the legend."""
    attention = np.zeros((1, 4, 4), np.float32)
    attention[0, 1, 2] = 1
    look = look_of(attention, np.array([0.0]), 192, 128)
    path = tmp_path / "film.mp4"
    options, overlay = FilmOptions(video_side=192), OverlayOptions(opacity=1.0)
    timeline = plan_timeline(np.arange(4) / 10)
    write_film(path, look, timeline, look.frames * 4, options=options, overlay=overlay)
    frame = decoded(path)[0][:128].astype(int)
    drawn = blend(look.frames[0], attention[0], look.geometry, overlay)
    assert np.abs(frame - drawn).mean() < 4  # chroma has half the resolution in yuv420p


def test_a_film_is_h264_that_starts_at_once(tmp_path: Path) -> None:
    """Phones and slides refuse other codecs and chroma; a page waits for an index at the end."""
    path = grey_film(tmp_path)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_film_plays_in_a_browser(tmp_path: Path) -> None:
    """A film that only this program decodes is of no use on a page."""
    film = base64.b64encode(grey_film(tmp_path).read_bytes()).decode()
    page = tmp_path / "film.html"
    page.write_text(
        "<!doctype html><meta http-equiv='Content-Security-Policy' content=\"script-src data:\">"
        f"<body><video muted preload=auto src='data:video/mp4;base64,{film}'></video></body>"
    )
    profile = tmp_path / "browser"
    profile.mkdir()
    dom, console = in_browser(page, PROBE, profile)
    assert console == ""
    assert "STATE 64 0.7 ok END" in dom


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

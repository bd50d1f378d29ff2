"""`pipeline inspect --image`: that the picture shows the flow of the cache, the right way round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from data.cache.flow import open_flow
from pipeline.cli import cli
from pipeline.inspect import flow_picture
from pipeline.inspect.flow_picture import choose_row, full_colour, source_frame
from pipeline.pictures.flow import colours, png
from tests.helpers import odd_videos
from tests.helpers.inspected import flow_header, run, write_features, write_flow, write_video

Pictures = dict[str, np.ndarray]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Pictures]:
    """Pixels of every picture that is written: the panels by the start of their titles."""
    pictures: list[Pictures] = []

    def keep(figure: Figure) -> bytes:
        axes = [each for each in figure.axes if each.images]
        pictures.append({each.get_title().split()[0]: _pixels(each) for each in axes})
        return png(figure)

    monkeypatch.setattr(flow_picture, "png", keep)
    return pictures


def _pixels(axes: Any) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())[..., :3].astype(int)


def extract(video: Path, output: Path, *arguments: str) -> Path:
    options = ["--engine", "opencv", "--segments", "1", "--candidates", "1", "--stack-length", "2"]
    command = ["extract-flow", str(video), "-o", str(output), "-j", "1", *options, *arguments]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    return output / f"{video.name}.h5"


@pytest.mark.parametrize(
    ("step", "name"), [((2, 0), "right"), ((-2, 0), "left"), ((0, 2), "down"), ((0, -2), "up")]
)
def test_planted_motion_gets_the_wheels_colour(
    step: tuple[int, int], name: str, tmp_path: Path, drawn: list[Pictures]
) -> None:
    """From video to picture, any swapped axis, sign or colour channel shows up here."""
    video = write_video(tmp_path / "a.avi", step=step)
    path = extract(video, tmp_path / "flow")
    result = run(path, "--image", tmp_path / "a.png", "--full-colour", "2")
    assert result.exit_code == 0, result.output
    flow = drawn[0]["optical"]
    inner = flow[flow.shape[0] // 4 : -flow.shape[0] // 4, flow.shape[1] // 4 : -flow.shape[1] // 4]
    planted = colours(np.array(step, np.float32).reshape(2, 1, 1), 2.0)[0, 0].astype(int)
    # TV-L1 recovers the motion to about .1 px of 2: some levels of colour.
    assert np.abs(np.median(inner, axis=(0, 1)) - planted).max() <= 15
    # And none of the other three directions has that colour.
    for other in {(2, 0), (-2, 0), (0, 2), (0, -2)} - {step}:
        wrong = colours(np.array(other, np.float32).reshape(2, 1, 1), 2.0)[0, 0].astype(int)
        assert np.abs(planted - wrong).max() > 60


def test_flow_is_drawn_at_its_place(tmp_path: Path, drawn: list[Pictures]) -> None:
    """A picture mirrored or transposed would put the tool's motion on the other hand."""
    field = np.zeros((1, 40, 60, 2), np.float32)
    field[0, :10, 50:, 0] = 5.0  # top right moves to the right
    path = write_flow(tmp_path / "a.h5", fields=field)
    assert run(path, "--image", tmp_path / "a.png").exit_code == 0
    flow = drawn[0]["optical"]
    moving = (flow != 255).any(axis=-1)
    height, width = moving.shape
    assert moving[: height // 5, -width // 7 :].all()
    assert not moving[height // 3 :].any()
    assert not moving[:, : width * 3 // 4].any()


def test_the_frame_is_the_pairs_first_one_upright(tmp_path: Path, drawn: list[Pictures]) -> None:
    """A frame that is not turned as the flow is, or another one, explains nothing."""
    upright = tmp_path / "upright.mp4"
    recipe = ["-f", "lavfi", "-i", "color=blue:size=96x64:rate=20:duration=1"]
    red_top = "drawbox=x=0:y=0:w=96:h=16:color=red:t=fill"
    odd_videos.encode(upright, [*recipe, "-vf", red_top, "-c:v", "libx264", "-qp", "0"])
    turned = tmp_path / "turned.mp4"
    # Counter-clockwise by 90°: what was at the top is at the left.
    odd_videos.encode(turned, ["-display_rotation", "90", "-i", str(upright), "-c", "copy"])
    path = extract(turned, tmp_path / "flow")
    assert run(path, "--image", tmp_path / "a.png").exit_code == 0
    frame, flow = drawn[0]["first"], drawn[0]["optical"]
    assert frame.shape[0] > frame.shape[1]
    reddish, bluish = frame[..., 0] > frame[..., 2], frame[..., 2] > frame[..., 0]
    assert reddish[:, : frame.shape[1] // 5].mean() > 0.95
    assert bluish[:, frame.shape[1] // 3 :].mean() > 0.95
    assert (flow == 255).all()  # nothing moves


def test_the_legend_is_in_the_picture(tmp_path: Path, drawn: list[Pictures]) -> None:
    """Colours without their key say nothing."""
    path = write_flow(tmp_path / "a.h5")
    assert run(path, "--image", tmp_path / "a.png").exit_code == 0
    legend = drawn[0]["rim:"]
    side = len(legend)
    planted = colours(np.array([0.7, 0.1]).reshape(2, 1, 1), 1.0)[0, 0].astype(int)
    legend_colour = legend[round(0.55 * side), round(0.85 * side)]
    # A pixel of the legend is 1/120 of full colour.
    assert np.abs(legend_colour - planted).max() <= 6


def test_the_pair_is_the_one_asked_for(tmp_path: Path) -> None:
    """A picture of another pair than it says is worse than none."""
    fields = np.zeros((6, 12, 16, 2), np.float32)
    fields[:, :, :, 0] = np.array([0, 0, 1, 9, 4, 2])[:, None, None]
    with open_flow(write_flow(tmp_path / "a.h5", fields=fields, decoded_frames=7)) as flow:
        assert choose_row(flow, "most")[0] == 3
        assert choose_row(flow, "median")[0] == 5  # of 1, 2, 4, 9: those that move
        assert choose_row(flow, "4")[0] == 4
    (report,) = json.loads(
        run(tmp_path / "a.h5", "--frame", 3, "--image", tmp_path / "a.png", "--json").stdout
    )
    assert report["image"]["frame"] == 3
    assert report["image"]["next_frame"] == 4
    assert report["image"]["full_colour_px"] == pytest.approx(9, abs=0.11)  # rounded up


def test_a_pair_that_is_not_there_is_named_with_its_neighbours(tmp_path: Path) -> None:
    """With a segments plan most frames have no pair; guessing numbers is tedious."""
    path = write_flow(tmp_path / "a.h5")
    result = run(path, "--frame", 9, "--image", tmp_path / "a.png")
    assert result.exit_code == 2
    assert "--frame 9 is not the first frame of any pair" in result.stderr
    assert "the nearest are 0, 1" in result.stderr
    assert not (tmp_path / "a.png").exists()


def test_full_colour_leaves_out_the_fastest_hundredth() -> None:
    """One stray pixel would make everything else look still."""
    field = np.zeros((2, 40, 50), np.float32)
    field[0] = np.linspace(0, 3, 2000).reshape(40, 50)
    field[0, 0, :5] = 500.0
    full, beyond, words = full_colour(field, None)
    assert full == pytest.approx(3.0)
    assert beyond == pytest.approx(5 / 2000)
    assert words == "99th percentile"
    assert full_colour(field, 7.5)[0] == 7.5
    assert full_colour(np.zeros((2, 4, 4)), None)[0] == 1.0
    sparse = np.zeros((2, 40, 50), np.float32)
    sparse[1, 0, 0] = 2.0
    assert full_colour(sparse, None)[0] == pytest.approx(2.0)  # its percentile is 0


def test_without_its_video_flow_is_drawn_alone_and_the_reason_is_reported(tmp_path: Path) -> None:
    """A frame of a video that was replaced since would be shown next to foreign flow."""
    path = write_flow(tmp_path / "gone.h5")
    result = run(path, "--image", tmp_path / "a.png")
    assert result.exit_code == 0
    assert "without the video's frame: gone.avi is no longer there" in result.stdout
    video = write_video(tmp_path / "a.avi")
    header = flow_header(video)
    assert source_frame(header, video, 0, 0.0)[1] == ""
    write_video(video, step=(0, 3))
    assert source_frame(header, video, 0, 0.0) == (None, f"{video} has changed since")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.h5", "b.h5", "--image", "x.png"], "one flow cache; found 2 paths"),
        (["a.h5", "--image", "x.jpg"], "ends in .png"),
        (["a.h5", "--image", "b.h5"], "ends in .png"),
        ([".", "--image", "x.png"], "is a folder"),
        (["v.avi", "--image", "x.png"], "extract-flow` makes one"),
        (["b.h5", "--image", "x.png"], "only flow has a picture"),
        (["none.h5", "--image", "x.png"], "no such cache"),
        (["a.h5", "--image", "x.png", "--frame", "first"], "expected a frame's number"),
        (["a.h5", "--image", "x.png", "--full-colour", "-1"], "expected a speed above 0"),
        (["a.h5", "--frame", "1"], "give --image"),
    ],
)
def test_what_has_no_picture_is_refused_before_anything_is_done(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache overwritten by a picture, or a flag that does nothing, are the worst outcomes."""
    monkeypatch.chdir(tmp_path)
    write_flow(tmp_path / "a.h5")
    content = write_features(tmp_path / "b.h5", "u" * 64).read_bytes()
    write_video(tmp_path / "v.avi")
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert (tmp_path / "b.h5").read_bytes() == content
    assert not (tmp_path / "x.png").exists()


def test_float16_flow_and_odd_names_are_drawn(tmp_path: Path) -> None:
    """Dollars are mathematics to matplotlib, and its font lacks many scripts."""
    video = write_video(tmp_path / "$a$ 名前.avi")
    path = extract(video, tmp_path / "flow", "--dtype", "float16", "--frame-step", "2")
    result = run(path, "--image", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    assert "px in 2 frames" in result.stdout
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture is not None
    assert picture.shape[0] > 300

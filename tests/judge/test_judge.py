"""judge as a user runs it: the folder with the page, its copies, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import av
import pytest
from click.testing import CliRunner, Result

from data.video.reading import scan
from pipeline import judge_videos
from pipeline.cli import cli
from tests.helpers.report_html import Page, outside_references
from tests.helpers.small_video import write_video


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def told(page: Path) -> dict[str, Any]:
    """Return what the page knows."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write four videos, one of them named like markup, and one damaged."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("a.avi", "b.avi", "sub/c.avi", "<b>d&'\".avi")):
        write_video(folder / name, 12 + number)
    (folder / "broken.avi").write_bytes(b"RIFF" + bytes(100))
    return folder


@pytest.fixture(scope="module")
def made(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the page of the videos, through the command line."""
    output = tmp_path_factory.mktemp("made") / "judge"
    result = run("judge", videos, "-o", output, "-j", 1)
    assert result.exit_code == 1, result.output  # One video is damaged.
    assert "4 videos: about 6 comparisons a judge, 6 pairs and 0 repeats" in result.stdout
    assert "broken.avi" in result.stderr
    return output


def test_the_page_is_one_file_that_asks_for_nothing_else(made: Path) -> None:
    """A page that loads something needs a network, and tells others what is judged."""
    text = (made / "index.html").read_text(encoding="utf-8")
    assert Page(text).faults == []
    assert outside_references(text) == []
    assert sorted(path.name for path in made.iterdir()) == ["index.html", "videos"]


def test_names_are_in_the_page_as_data_alone(made: Path) -> None:
    """A name that closes the script would become code of the page."""
    text = (made / "index.html").read_text(encoding="utf-8")
    assert "<b>d" not in text
    content = told(made / "index.html")
    assert [video["name"] for video in content["videos"]] == [
        "<b>d&'\".avi", "a.avi", "b.avi", "sub/c.avi",
    ]  # fmt: skip
    assert not content["showNames"]
    assert content["plan"] is None


def test_copies_are_h264_of_the_same_length_under_names_that_tell_nothing(
    made: Path, videos: Path
) -> None:
    """A browser does not play MJPG, and a file's name gives away whom it shows."""
    for video in told(made / "index.html")["videos"]:
        copy = made / video["src"]
        assert re.fullmatch(r"videos/[0-9a-f]{16}-640\.mp4", video["src"])
        with av.open(str(copy)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert not container.streams.audio
        assert scan(copy).frames == scan(videos / video["name"]).frames
        assert video["fps"] == pytest.approx(25)


def test_copies_are_made_once(made: Path, videos: Path) -> None:
    """A new video makes all others be encoded again."""
    before = {path: path.stat().st_mtime_ns for path in (made / "videos").iterdir()}
    result = run("judge", videos, "-o", made, "-j", 1, "--exclude", "broken*", "--question", "Who?")
    assert result.exit_code == 0, result.output
    assert {path: path.stat().st_mtime_ns for path in (made / "videos").iterdir()} == before
    assert told(made / "index.html")["question"] == "Who?"


def test_large_videos_are_shrunk(tmp_path: Path) -> None:
    """Copies of 4K stop a tablet."""
    write_video(tmp_path / "videos" / "a.avi", 3)
    write_video(tmp_path / "videos" / "b.avi", 4)
    words = ("-o", tmp_path / "judge", "--video-side", 64, "-j", 1)
    assert run("judge", tmp_path / "videos", *words).exit_code == 0
    copy = next((tmp_path / "judge" / "videos").iterdir())
    assert scan(copy).width == 48  # never enlarged


def test_originals_are_linked_on_request(videos: Path, tmp_path: Path) -> None:
    """Links to nowhere show two black squares."""
    output = tmp_path / "judge"
    result = run("judge", videos, "-o", output, "--no-copies", "-j", 1)
    assert result.exit_code == 1
    assert "may not play in a browser" in result.stderr
    from urllib.parse import unquote

    for video in told(output / "index.html")["videos"]:
        assert not re.search(r"[<>\"' &]", video["src"])
        assert (output / unquote(video["src"])).resolve() == (videos / video["name"]).resolve()
    assert not (output / "videos").exists()


def test_a_plain_schedule_has_so_many_pairs(videos: Path, tmp_path: Path) -> None:
    """`--pairs` promises a number, and the same seed the same pairs."""
    words = ("--exclude", "broken*", "-j", 1, "--pairs", 4, "--repeat-every", 3)
    assert run("judge", videos, "-o", tmp_path / "a", *words).exit_code == 0
    assert run("judge", videos, "-o", tmp_path / "b", *words, "--seed", 1).exit_code == 0
    one, other = (told(tmp_path / name / "index.html") for name in "ab")
    assert len({tuple(pair) for pair in one["plan"]}) == 4
    assert one["comparisons"] == 6  # two of them repeats
    assert one["plan"] != other["plan"]


def test_a_dry_run_says_how_many_and_writes_nothing(videos: Path, tmp_path: Path) -> None:
    """The number of comparisons must be known before hours are spent on copies."""
    result = run("judge", videos, "-o", tmp_path / "judge", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "5 videos: about 11 comparisons a judge, 10 pairs and 1 repeat" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_used_is_refused_in_one_line(videos: Path, tmp_path: Path) -> None:
    """One video, or another file in the way, must not end in an empty page or a lost file."""
    alone = run("judge", videos / "a.avi", "-o", tmp_path / "judge", "-j", 1)
    assert alone.exit_code == 2
    assert "at least two videos" in alone.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("<h1>mine</h1>")
    taken = run("judge", videos, "-o", tmp_path / "mine", "-j", 1)
    assert taken.exit_code == 2
    assert "not a page of this program" in taken.stderr
    missing = run("judge", videos, "-o", tmp_path / "x", "--run", tmp_path / "none", "-j", 1)
    assert missing.exit_code == 2
    assert "no such run" in missing.stderr


def test_frame_folders_need_copies(videos: Path, tmp_path: Path) -> None:
    """A browser cannot play a folder: the message must say what does work."""
    import cv2
    import numpy as np

    for n in range(3):
        (tmp_path / "in" / "take").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"in/take/img_{n:05}.png"), np.full((32, 32), 40 * n, np.uint8))
    shutil.copyfile(videos / "a.avi", tmp_path / "in" / "a.avi")
    shutil.copyfile(videos / "b.avi", tmp_path / "in" / "b.avi")
    linked = run("judge", tmp_path / "in", "-o", tmp_path / "l", "--no-copies", "-j", 1)
    assert linked.exit_code == 1
    assert "leave --no-copies out" in linked.stderr
    copied = run("judge", tmp_path / "in", "-o", tmp_path / "c", "-j", 1)
    assert copied.exit_code == 0, copied.output
    assert len(told(tmp_path / "c" / "index.html")["videos"]) == 3


def test_the_function_is_the_command(videos: Path, tmp_path: Path) -> None:
    """A notebook must get the page that the command writes."""
    page = judge_videos(videos, tmp_path / "judge", exclude=["broken*"], jobs=1, show_names=True)
    assert page.videos == ("<b>d&'\".avi", "a.avi", "b.avi", "sub/c.avi")
    assert page.comparisons == 6
    assert page.failures == {}
    assert told(page.page)["showNames"]

"""The page in a browser, used as a judge uses it: keys, undo, reload, export, import."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.judgements.comparisons import decided, read_comparisons
from data.tables import read_rows
from pipeline.cli import cli
from pipeline.runs.folder import load_run
from tests.helpers.browser import Tab, browser
from tests.helpers.report_html import BROWSER
from tests.helpers.small_video import write_video

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")

HOSTILE = ["<img src=x onerror=alert(1)>", "<script><b>é'\"&", '=cmd, "x"', "__proto__"]
NAMES = [f"{name}.avi" for name in (*HOSTILE, "anna 01", "ben_02")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the page of six small videos, most with names that want to be code."""
    place = tmp_path_factory.mktemp("judge")
    for number, name in enumerate(NAMES):
        video = place / "videos" / name
        write_video(video, 8 + number)
        video.write_bytes(video.read_bytes() + bytes([number]))
    words = ["judge", place / "videos", "-o", place / "judge", "--show-names", "-j", "1"]
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return place / "judge" / "index.html"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(started: Tab, page: Path, tmp_path: Path) -> Iterator[Tab]:
    """Open the page as for the first time; its console must stay empty."""
    started.look(1280, 800)
    started.downloads_to(tmp_path)
    started.open(page)
    started.js("localStorage.clear()")
    started.open(page)
    yield started
    assert started.faults == []


# Answers and skips that the browser keeps of the only judge.
STORED = "JSON.parse(localStorage.getItem(localStorage.key(0))).judges[0].answers.length"


def start(tab: Tab, judge: str) -> None:
    """Type a name and begin, by the keyboard alone."""
    tab.type(judge)
    tab.key("Enter")
    tab.wait("!document.getElementById('compare').hidden")


def answer(tab: Tab, *keys: str) -> None:
    for key in keys:
        time.sleep(0.4)  # The page takes no answer in the first 0.3 s of a pair.
        tab.key(key)


def pair(tab: Tab) -> list[str]:
    return [tab.js(f"document.getElementById('name-{side}').textContent") for side in "ab"]


def done(tab: Tab) -> str:
    return str(tab.js("document.getElementById('progress-text').textContent"))


def exported(tab: Tab, file: Path) -> list[dict[str, str]]:
    file.unlink(missing_ok=True)
    tab.key("e")
    end = time.monotonic() + 30
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.05)
    header, *rows = (row.cells for row in read_rows(file))
    return [dict(zip(header, cells, strict=True)) for cells in rows]


def test_answers_by_keys_undo_reload_export_and_import(
    tab: Tab, page: Path, tmp_path: Path
) -> None:
    """An hour of an expert's work is lost, or lands under the wrong names."""
    start(tab, "Anna B")
    shown = []
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown", "s"):
        shown.append(pair(tab))
        answer(tab, key)
    fifth = pair(tab)
    assert done(tab).startswith("3 of about ")
    answer(tab, "ArrowLeft", "u")
    assert pair(tab) == fifth
    tab.key("u")
    assert pair(tab) == shown[3]
    tab.open(page)
    assert tab.js("document.getElementById('judge').value") == "Anna B"
    tab.key("Enter")
    tab.wait("!document.getElementById('compare').hidden")
    assert pair(tab) == shown[3]
    assert done(tab).startswith("3 of about ")
    rows = exported(tab, tmp_path / "pairs_Anna_B.csv")
    assert [(row["better"], row["worse"], row["tie"]) for row in rows] == [
        (*shown[0], "no"),
        (*shown[1][::-1], "no"),
        (*shown[2], "yes"),
    ]
    assert {row["judge"] for row in rows} == {"Anna B"}
    assert all(0.3 <= float(row["seconds"]) < 60 and row["time"][-1] == "Z" for row in rows)
    assert {name for row in rows for name in (row["better"], row["worse"])} <= set(NAMES)
    tab.js("localStorage.clear()")
    tab.open(page)
    tab.choose("#file", tmp_path / "pairs_Anna_B.csv")
    tab.wait("!document.getElementById('compare').hidden")
    assert done(tab).startswith("3 of about ")
    copy = tmp_path / "again.csv"
    shutil.copyfile(tmp_path / "pairs_Anna_B.csv", copy)
    assert exported(tab, tmp_path / "pairs_Anna_B.csv") == rows
    tab.choose("#file", copy)
    tab.wait("document.getElementById('status').textContent.indexOf('0 answers of Anna B') >= 0")
    assert done(tab).startswith("3 of about ")


def write_caches(folder: Path) -> None:
    """Write features of the videos on the page."""
    rng = np.random.default_rng(0)
    for key in NAMES:
        header = Header("features", source=key, source_digest=key, decoded_frames=20)
        frames = np.arange(4) * 5
        path = cache_path(folder, key)
        with create_features(path, header, frames, frames / 25, (3, 2, 2)) as out:
            for row in range(4):
                out.put(row, rng.normal(size=(3, 2, 2)))


def test_all_comparisons_end_with_an_export_that_trains(tab: Tab, tmp_path: Path) -> None:
    """A page that never ends, or whose answers need work by hand, wastes the judge's time."""
    start(tab, "C")
    for _ in range(30):
        if tab.js("document.getElementById('compare').hidden"):
            break
        answer(tab, "ArrowLeft")
    assert tab.js("!document.getElementById('done').hidden")
    rows = exported(tab, tmp_path / "pairs_C.csv")
    judged = read_comparisons(tmp_path / "pairs_C.csv")
    pairs = decided(judged)
    assert len(pairs) == len(judged) == len(rows) == 16  # 15 pairs and a repeat
    assert {each.judge for each in judged} == {"C"}
    assert all(each.seconds and each.seconds > 0.3 for each in judged)
    assert len({frozenset((each.better, each.worse)) for each in pairs}) == 15
    write_caches(tmp_path / "features")
    words = ["train-ranker", "--features", tmp_path / "features", "-o", tmp_path / "run"]
    words += ["--pairs", tmp_path / "pairs_C.csv", "--segments", 2, "--hidden-size", 4]
    words += ["--epochs", 2, "--device", "cpu", "--protocol", "last"]
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert set(load_run(tmp_path / "run").training_videos) == set(NAMES)
    tab.key("u")
    assert tab.js("document.getElementById('done').hidden")


def test_answers_by_touch(tab: Tab) -> None:
    """On a tablet there are no keys; and the space bar after a tap must play, not answer again."""
    tab.look(820, 1180)
    start(tab, "T")
    for number, button in enumerate(("#left", "#equal", "#right", "#skip"), 1):
        time.sleep(0.4)
        tab.tap(button)
        tab.wait(f"{STORED} === {number}")
    tab.tap("#undo")
    tab.wait(f"{STORED} === 3")
    time.sleep(0.4)
    tab.tap("#left")
    tab.wait(f"{STORED} === 4")
    time.sleep(0.4)
    tab.key(" ")
    tab.wait("document.getElementById('play').textContent === 'Play'")
    assert tab.js(STORED) == 4


def test_videos_play_in_step_and_by_frames(tab: Tab) -> None:
    """Two videos that run apart are not compared at the same moment."""
    start(tab, "D")
    tab.wait("document.getElementById('video-a').currentTime > 0.1")
    tab.js("document.getElementById('loop').getAttribute('aria-pressed')")
    tab.key(" ")
    tab.wait("document.getElementById('play').textContent === 'Play'")
    tab.js("document.getElementById('seek').value = 0;"
           "document.getElementById('seek').dispatchEvent(new Event('input'))")  # fmt: skip
    for _ in range(3):
        tab.key(".")
    tab.key(",")
    for side in "ab":
        at = f"document.getElementById('video-{side}').currentTime"
        tab.wait(f"Math.abs({at} - 2.5 / 25) < 0.004")
    tab.key("-")
    tab.key("-")
    assert tab.js("document.getElementById('video-b').playbackRate") == 0.5
    # An end lasts for a moment only, which a busy machine would miss.
    tab.js("window.ends = 0; for (const video of document.querySelectorAll('video'))"
           "  video.addEventListener('ended', () => { window.ends += 1; })")  # fmt: skip
    tab.key(" ")
    tab.wait("window.ends > 0")
    tab.wait("!document.getElementById('video-a').ended && "
             "!document.getElementById('video-b').ended")  # fmt: skip


@pytest.mark.parametrize("size", [(390, 844), (1280, 800), (820, 1180), (844, 390)])
def test_everything_fits_on_the_screen(tab: Tab, size: tuple[int, int]) -> None:
    """Buttons below the edge of the screen are not found, and videos beside it are not seen."""
    tab.look(*size)
    start(tab, "E")
    tab.wait("document.getElementById('video-a').videoWidth > 0")
    outside = tab.js(
        "Array.from(document.querySelectorAll('#compare button, #compare video, #seek'))"
        ".filter(function (each) { return each.offsetParent !== null; })"
        ".filter(function (each) { var box = each.getBoundingClientRect();"
        "return box.left < 0 || box.top < 0 || box.right > innerWidth || "
        "box.bottom > innerHeight || box.width < 24 || box.height < 24; })"
        ".map(function (each) { return each.id; })"
    )
    assert outside == []


def test_names_stay_text(tab: Tab) -> None:
    """A name that becomes markup runs as code in the page that holds the answers."""
    start(tab, "<b>F</b>")
    for _ in range(4):
        names = pair(tab)
        assert set(names) <= set(NAMES)
        answer(tab, "ArrowRight")
    assert tab.js("document.getElementById('judge-name').textContent") == "<b>F</b>"
    assert tab.js("document.querySelectorAll('#compare img, #compare b b').length") == 0


def test_names_are_hidden_unless_asked_for(tab: Tab, page: Path) -> None:
    """A judge who reads the name judges the person."""
    hidden = page.with_name("hidden.html")
    text = page.read_text(encoding="utf-8")
    hidden.write_text(text.replace('"showNames": true', '"showNames": false'), encoding="utf-8")
    tab.open(hidden)
    start(tab, "N")
    assert pair(tab) == ["", ""]
    seen = tab.js("document.querySelector('#compare').innerText + document.title")
    assert not any(Path(name).stem in seen for name in NAMES)
    assert tab.js("document.querySelectorAll('[title], [alt]').length") == 0


def test_a_foreign_file_changes_nothing(tab: Tab, tmp_path: Path) -> None:
    """A wrong file must not count as answers, nor pass without a word."""
    other = tmp_path / "other.csv"
    other.write_text("video,score\na,1\n", encoding="utf-8")
    start(tab, "G")
    tab.choose("#file", other)
    tab.wait("document.getElementById('status').textContent.indexOf('no answers in it') >= 0")
    other.write_text("better;worse\nunknown;ben_02.avi\n", encoding="utf-8")
    tab.choose("#file", other)
    tab.wait("document.getElementById('status').textContent.indexOf('1 row') >= 0")
    assert done(tab).startswith("0 of about ")


def test_damaged_storage_is_passed_over(tab: Tab, page: Path) -> None:
    """Storage that another version wrote, or a hand, must not stop the page for ever."""
    key = tab.js("'dexterank-judge/' + JSON.parse(document.getElementById('data').textContent).id")
    for damaged in ("{", '{"judges": [{"name": "H", "answers": [{"better": 99, "worse": 0}, 3]}]}'):
        tab.js(f"localStorage.setItem({json.dumps(key)}, {json.dumps(damaged)})")
        tab.open(page)
        start(tab, "H")
        assert done(tab).startswith("0 of about ")

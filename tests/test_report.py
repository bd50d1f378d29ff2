"""The page about a run: whole, closed to the outside, and honest about what it does not know."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from data.annotations.options import DatasetOptions
from data.cache import cache_path
from data.cache_header import Header
from data.errors import InputError
from data.feature_cache import create_features
from data.pairs import Pair
from model.ranker.options import RankerOptions, TrainOptions
from pipeline.cli import cli
from pipeline.evaluate import evaluate
from pipeline.evaluation_options import EvaluateOptions
from pipeline.report import write_report
from pipeline.report_options import ReportOptions
from pipeline.train_ranker import train_ranker
from tests.report_html import BROWSER, Page, in_browser, outside_references

S, SIDE, C = 6, 3, 4
# The slash makes the last one a file in a folder called "e<", as a user could name it.
HOSTILE = (
    "<img src=x onerror=alert(1)>.avi",
    "{{7*7}}.avi",
    "\"quoted\" & 'single'.avi",
    "javascript:alert(2).avi",
    "e</script><script>alert(3)<!--.avi",
)
NAMES = (*HOSTILE, "plain_5.avi", "plain_6.avi", "a_long_" + "name_" * 30 + ".avi", "broken.avi")
RANKER = RankerOptions(segments=3, hidden_size=4, attention_size=3)
TRAIN = TrainOptions(epochs=4, protocol="last")


def write_video(path: Path, colour: int, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for frame in range(frames):
        writer.write(np.full((48, 64, 3), (colour, 10 * frame, 90), np.uint8))
    writer.release()


def ranked_names(page: Page) -> list[str]:
    return [cell["data-value"] for cell in page.all("th") if "data-value" in cell]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine videos, eight with hostile or long names and one broken, with caches and pairs."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for number, key in enumerate(NAMES):
        video = folder / "videos" / key
        write_video(video, 25 * number, 12 + number)
        if key == "broken.avi":
            video.write_bytes(b"no video at all")
        header = Header(
            "features",
            source=str(video),
            source_size=video.stat().st_size,
            decoded_frames=12 + number,
            parameters={"input_size": 192, "trunk_stage": "conv5", "plan": {"segments": 3}},
            weights={"rgb": "ab" * 32, "flow": "cd" * 32, "fusion": "ef" * 32},
            versions={"torch": "9.8.7"},
        )
        frames = np.arange(S) * 2
        path = cache_path(folder / "features", key)
        with create_features(path, header, frames, frames / 25, (C, SIDE, SIDE)) as out:
            for row in range(S):
                maps = rng.normal(size=(C, SIDE, SIDE))
                maps[0] -= number / 2
                out.put(row, maps)
    pairs = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    quoted = ['"' + name.replace('"', '""') + '"' for name in NAMES]
    lines = [f"{quoted[NAMES.index(a)]},{quoted[NAMES.index(b)]}\n" for a, b in pairs]
    (folder / "pairs.csv").write_text("better,worse\n" + "".join(lines))
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    """Train on all but the last and the third video; test on pairs that name one of them."""
    pairs = [Pair(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    held = {NAMES[2], NAMES[5], NAMES[8]}
    inside = [pair for pair in pairs if {pair.better, pair.worse}.isdisjoint(held)]
    outside = [pair for pair in pairs if pair not in inside]
    train_ranker(
        place / "features", inside, place / "run", test_pairs=outside, ranker=RANKER, train=TRAIN
    )
    return place / "run"


@pytest.fixture(scope="module")
def evaluation(place: Path) -> Path:
    table, _ = evaluate(
        place / "features",
        place / "pairs.csv",
        place / "evaluation",
        dataset=DatasetOptions(folds=3),
        ranker=RANKER,
        train=TRAIN,
        options=EvaluateOptions(variants=("full", "no_att"), seeds=1, draws=100),
    )
    assert table is not None
    return place / "evaluation"


@pytest.fixture(scope="module")
def full_page(place: Path, run: Path, evaluation: Path) -> Path:
    return write_report(
        run,
        place / "out" / "full.html",
        evaluation=evaluation,
        pairs=place / "pairs.csv",
        dataset=DatasetOptions(folds=3),
        seconds={"extract-flow": 61.0},
    )


@pytest.fixture(scope="module")
def full_text(full_page: Path) -> str:
    return full_page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bare_text(place: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the page where only the checkpoint is left of the run."""
    lonely = tmp_path_factory.mktemp("lonely") / "run"
    lonely.mkdir()
    (lonely / "checkpoint.safetensors").write_bytes((run / "checkpoint.safetensors").read_bytes())
    page = write_report(lonely, lonely / "report.html")
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("which", ["full_text", "bare_text"])
def test_the_page_is_whole_html(which: str, request: pytest.FixtureRequest) -> None:
    """Fails if a tag is left open or an id is used twice: browsers then guess, each its own way."""
    page = Page(request.getfixturevalue(which))
    assert page.faults == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {link["href"].removeprefix("#") for link in page.all("a")}
    labels = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert anchors | labels <= set(ids)
    assert all(image["alt"] and image["width"] and image["height"] for image in page.all("img"))


@pytest.mark.parametrize("which", ["full_text", "bare_text"])
def test_nothing_is_asked_from_outside(which: str, request: pytest.FixtureRequest) -> None:
    """Fails if the page would need, or tell, another host or file when it is opened."""
    text = request.getfixturevalue(which)
    assert outside_references(text) == []
    policy = next(m for m in Page(text).all("meta") if m.get("http-equiv"))["content"]
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy


def test_names_from_files_are_text_and_nothing_else(full_text: str) -> None:
    """Fails if a file's name becomes an element, an attribute, a script or a template."""
    page = Page(full_text)
    assert len(page.all("script")) == 1
    assert all(image["src"].startswith("data:image/jpeg") for image in page.all("img"))
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    for name in HOSTILE:
        assert name in page.text
    assert "{{7*7}}" in page.text
    assert sorted(ranked_names(page)) == sorted(NAMES)


def test_a_hostile_title_is_text_too(place: Path, run: Path) -> None:
    """Fails if the heading that the user gives is trusted as HTML."""
    page = write_report(run, place / "out" / "t.html", title="</title><script>alert(1)</script>")
    assert len(Page(page.read_text()).all("script")) == 1


def test_what_the_page_must_tell_is_there(full_text: str, run: Path) -> None:
    """Fails if options, digests, versions, protocol, data, times or sizes are left out."""
    text = Page(full_text).text
    for wanted in (
        "last epoch", "learning rate", "hidden size", "ab" * 32, "torch 9.8.7", "videos scored 9",
        "evaluate", "1 min 01 s", "not recorded", "no_att", "length (baseline)", "chance",
        "judged better", "judged worse", "Learning curves", "Attention",
    ):  # fmt: skip
        assert wanted in text, wanted
    stated = re.search(r"one file of ([\d.]+ KB)", text)
    assert stated is not None
    # The number itself is a few bytes of the page.
    assert float(stated[1].split()[0]) == pytest.approx(len(full_text.encode()) / 1000, abs=0.2)


def test_the_ranking_is_the_runs_own(full_text: str, run: Path) -> None:
    """Fails if the page ranks otherwise than scores.csv."""
    page = Page(full_text)
    names = [
        a["data-value"] for a in page.all("th") if a.get("scope") == "row" and "data-value" in a
    ]
    listed = (run / "scores.csv").read_text().splitlines()[1:]
    scores = [float(line.rsplit(",", 3)[1]) for line in listed]
    shown = [float(a["data-value"]) for a in page.all("td") if "data-value" in a]
    assert len(names) == len(NAMES)
    assert [value for value in shown if value in scores] == scores


def test_training_accuracy_never_passes_for_more(place: Path, run: Path, full_text: str) -> None:
    """Fails if the headline is of pairs that the ranker was trained on, or does not say so."""
    lonely = place / "trained_only"
    train_ranker(
        place / "features",
        [Pair(NAMES[0], NAMES[5]), Pair(NAMES[5], NAMES[6])],
        lonely,
        ranker=RANKER,
        train=TRAIN,
    )
    text = Page(write_report(lonely, place / "out" / "o.html").read_text()).text
    summary = text[text.index("Summary Ranking Pair") : text.index("All 3 videos")]
    assert "No test pairs: how it judges new videos is not known." in summary
    assert "%" not in summary.replace("50 %", "")
    assert "says nothing about other videos" in text
    assert "cross-validated over 3 folds" in Page(full_text).text


def test_a_run_without_test_pairs_shows_those_of_its_evaluation(
    place: Path, evaluation: Path
) -> None:
    """Fails if pairs that a ranker was trained on pass for the most wrong ones."""
    pairs = [Pair(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
    own = place / "all_pairs"
    train_ranker(place / "features", pairs, own, ranker=RANKER, train=TRAIN)
    page = write_report(
        own,
        place / "out" / "crossed.html",
        evaluation=evaluation,
        pairs=place / "pairs.csv",
        dataset=DatasetOptions(folds=3),
    )
    text = Page(page.read_text()).text
    assert "of 63 cross-validated test pairs are ordered wrongly" in text
    assert ", fold " in text


def test_published_numbers_are_marked_as_such(place: Path, run: Path, evaluation: Path) -> None:
    """Fails if a number from the paper is missing, or could be taken for one measured here."""
    own = place / "published"
    shutil.copytree(evaluation, own)
    content = json.loads((own / "results.json").read_text())
    content["rows"][0]["published"] = 85.5
    (own / "results.json").write_text(json.dumps(content))
    text = Page(write_report(run, place / "out" / "p.html", evaluation=own).read_text()).text
    assert "85.5 % published, Li, Huang, Cai, Sato" in text
    assert "others' numbers, not measured here" in text
    assert "the epoch was chosen on the test pairs" in text


def test_the_authors_protocol_is_called_what_it_is(place: Path) -> None:
    """Fails if accuracy on pairs that chose the epoch passes for a test."""
    own = place / "authors"
    train_ranker(
        place / "features",
        [Pair(NAMES[0], NAMES[5]), Pair(NAMES[5], NAMES[6])],
        own,
        test_pairs=[Pair(NAMES[0], NAMES[6]), Pair(NAMES[1], NAMES[6])],
        ranker=RANKER,
        train=TrainOptions(epochs=4, protocol="authors"),
    )
    text = Page(write_report(own, place / "out" / "a.html").read_text()).text
    assert "Authors' protocol: the epoch was chosen on the test pairs" in text
    assert "AUTHORS' PROTOCOL" in text
    assert "never used in training" not in text


def test_fold_values_are_those_of_the_table(place: Path, evaluation: Path, full_text: str) -> None:
    """Fails if the folds drawn for the page are not those that were evaluated."""
    rows = json.loads((evaluation / "results.json").read_text())["rows"]
    told = Page(full_text).text
    assert f"{100 * rows[0]['accuracy']['mean']:.1f}" in told
    assert "Each fold, per cent" in told


@pytest.mark.parametrize(("folds", "shown"), [(3, True), (2, False)])
def test_folds_that_were_not_recorded_are_drawn_again_and_checked(
    place: Path, run: Path, evaluation: Path, folds: int, shown: bool
) -> None:
    """Fails if folds drawn with other options pass for the evaluation's own."""
    own = place / f"unrecorded_{folds}"
    shutil.copytree(evaluation, own)
    (own / "folds.json").unlink()
    page = write_report(
        run,
        place / "out" / f"drawn_{folds}.html",
        evaluation=own,
        pairs=place / "pairs.csv",
        dataset=DatasetOptions(folds=folds),
    )
    text = Page(page.read_text()).text
    assert ("Each fold, per cent" in text) == shown
    assert ("did not record its folds" in text) != shown


def test_pairs_that_were_not_recorded_are_told_apart(place: Path, run: Path) -> None:
    """Fails if pairs of unseen videos count as training pairs, or the guess is not called one."""
    own = place / "unrecorded_run"
    shutil.copytree(run, own)
    (own / "record.json").unlink()
    page = write_report(own, place / "out" / "told.html", pairs=place / "pairs.csv")
    text = Page(page.read_text()).text
    assert "of 21 test pairs" in text
    assert "pairs of two training videos 15" in text
    assert "told apart by the videos that it was trained on" in text


def test_a_broken_video_leaves_a_gap_and_the_rest(full_text: str) -> None:
    """Fails if one unreadable video stops the page or looks like a picture."""
    page = Page(full_text)
    gaps = [a["aria-label"] for _, a in page.elements if a.get("class") == "no-picture"]
    assert gaps
    assert all("broken.avi" in gap for gap in gaps)
    small = [image for image in page.all("img") if "plain_6" in image["alt"]]
    assert small
    assert (small[0]["width"], small[0]["height"]) == ("64", "48")


def test_what_is_missing_is_named(bare_text: str) -> None:
    """Fails if a page without caches, videos, pairs or evaluation hides that, or breaks."""
    text = Page(bare_text).text
    for wanted in (
        "--features names their folder", "--videos names their folder", "No evaluation was given",
        "did not record its pairs", "never used in training", "not found",
        "metrics.json is not in the run folder",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_pictures_are_kept_to_the_best_and_the_worst(place: Path, run: Path) -> None:
    """Fails if hundreds of videos make a page of hundreds of pictures, or the cap goes unsaid."""
    options = ReportOptions(thumbnails=4, wrong_pairs=0, sheets=0)
    text = write_report(run, place / "out" / "few.html", options=options).read_text()
    page = Page(text)
    gaps = sum(a.get("class") == "no-picture" for _, a in page.elements)
    assert len(page.all("img")) + gaps == 4
    assert "kept to 4 videos" in page.text


def test_a_ranker_without_attention_gets_a_page(place: Path) -> None:
    """Fails if a variant that has no attention maps breaks the page."""
    ranker = RankerOptions(variant="no_att", segments=3, hidden_size=4, attention_size=3)
    pairs = [Pair(NAMES[0], NAMES[5]), Pair(NAMES[5], NAMES[6])]
    train_ranker(place / "features", pairs, place / "plain", ranker=ranker, train=TRAIN)
    page = Page(write_report(place / "plain", place / "out" / "plain.html").read_text())
    assert page.faults == []
    assert "no_att has no attention" in page.text


def test_a_page_is_not_replaced_unasked(place: Path, run: Path) -> None:
    """Fails if a page that somebody wrote by hand, or an earlier one, is lost."""
    kept = place / "kept.html"
    kept.write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        write_report(run, kept)
    assert kept.read_text() == "mine"
    write_report(run, kept, overwrite=True)
    assert kept.read_text().startswith("<!doctype html>")


def test_the_command_writes_the_page(place: Path, run: Path, evaluation: Path) -> None:
    """Fails if the flags do not reach the page, or its place is not told."""
    to = place / "out" / "command.html"
    arguments = ["report", run, "-o", to, "--evaluation", evaluation, "-j", 1, "--title", "Mine"]
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert str(to) in result.stdout
    assert Page(to.read_text()).text.count("Mine") == 2


def test_best_and_worst_get_an_attention_sheet(full_text: str, run: Path) -> None:
    """Fails if the sheets are of other videos, or a video that cannot be drawn goes unsaid."""
    page = Page(full_text)
    drawn = [image["alt"] for image in page.all("img") if "attention drawn over" in image["alt"]]
    listed = (run / "scores.csv").read_text().splitlines()[1:]
    assert len(drawn) == 1
    assert NAMES[0] in drawn[0]
    assert NAMES[0].replace('"', '""') in listed[0]
    assert listed[-1].startswith("broken.avi")
    assert "Not drawn:" in page.text


def test_recorded_pairs_need_no_file_of_judgements(place: Path, run: Path) -> None:
    """Fails if validation or test pairs that the run recorded are lost, or count as training."""
    own = place / "recorded"
    shutil.copytree(run, own)
    pairs = {
        "train": [[NAMES[0], NAMES[1]]],
        "validation": [[NAMES[3], NAMES[4]]],
        "test": [[NAMES[2], NAMES[6]], [NAMES[5], NAMES[2]]],
    }
    checkpoint = hashlib.sha256((own / "checkpoint.safetensors").read_bytes()).hexdigest()
    record = {
        "format": 1,
        "checkpoint": checkpoint,
        "features": str(place / "features"),
        "seconds": 75.0,
        "versions": {},
    }
    (own / "record.json").write_text(json.dumps(record | {"pairs": pairs}))
    text = Page(write_report(own, place / "out" / "r.html").read_text()).text
    assert "validation pairs 1" in text
    assert "all test pairs, one video unseen 1" not in text
    assert "of 2 test pairs are ordered wrongly" in text
    assert "chose the epoch" in text
    assert "1 min 15 s" in text
    (own / "record.json").write_text(json.dumps(record | {"pairs": pairs, "checkpoint": "older"}))
    text = Page(write_report(own, place / "out" / "older.html").read_text()).text
    assert "did not record its pairs" in text
    (own / "record.json").write_text(json.dumps(record | {"pairs": pairs | {"test": [["x", "y"]]}}))
    with pytest.raises(InputError, match=r"has not scored, e\.g\. x"):
        write_report(own, place / "out" / "never.html")
    (own / "record.json").write_text(json.dumps(record | {"pairs": [1]}))
    with pytest.raises(InputError, match="damaged"):
        write_report(own, place / "out" / "never.html")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--evaluation", "nowhere"), "no finished evaluation"),
        (("--features", "nowhere"), "no such folder"),
        (("--shard", "1/2"), "one piece"),
    ],
)
def test_unusable_options_end_in_one_line(
    place: Path, run: Path, more: tuple[str, str], said: str
) -> None:
    """Fails if a mistyped folder gives a traceback, or a page without what was asked for."""
    to = place / "out" / "never.html"
    result = CliRunner().invoke(cli, ["report", str(run), "-o", str(to), "-j", "1", *more])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not to.exists()


PROBE = """
var failed = [];
window.onerror = function (message) { failed.push(String(message)); };
document.addEventListener("securitypolicyviolation", function (event) {
  failed.push(event.violatedDirective);
});
function order() {
  return Array.prototype.slice.call(document.querySelectorAll("#ranking-table tbody tr"))
    .filter(function (row) { return !row.hidden; })
    .map(function (row) { return row.cells[0].dataset.value; }).join(" ");
}
window.addEventListener("load", function () {
  var told = {};
  var score = document.querySelectorAll("#ranking-table thead button")[2];
  told.first = order();
  score.click();
  told.up = order();
  told.sorted = score.parentNode.getAttribute("aria-sort");
  score.click();
  told.down = order();
  var find = document.getElementById("filter-name");
  find.value = "PLAIN";
  find.dispatchEvent(new Event("input"));
  told.found = order();
  told.count = document.getElementById("filter-count").textContent;
  find.value = "";
  var seen = document.getElementById("filter-seen");
  seen.value = "unseen";
  seen.dispatchEvent(new Event("change"));
  told.unseen = order().split(" ").length;
  told.wide = document.documentElement.scrollWidth <= document.documentElement.clientWidth;
  told.pictures = Array.prototype.slice.call(document.images).every(function (image) {
    image.loading = "eager"; return image.src.indexOf("data:image/jpeg") === 0;
  });
  told.failed = failed;
  var out = document.createElement("pre");
  out.id = "told";
  out.textContent = "TOLD" + JSON.stringify(told) + "END";
  document.body.appendChild(out);
});
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_sorting_and_filtering_work_in_a_browser(full_page: Path, tmp_path: Path) -> None:
    """Fails if the script is blocked, throws or sorts wrongly where a user opens the page."""
    dom, console = in_browser(full_page, PROBE, tmp_path)
    assert console == ""
    told = json.loads(re.search(r"TOLD(.*)END</pre>", dom)[1].replace("&amp;", "&"))  # type: ignore[index]
    count = len(NAMES)
    best_first = " ".join(str(rank + 1) for rank in range(count))
    assert told["first"] == best_first
    assert told["up"] == " ".join(reversed(best_first.split()))
    assert told["sorted"] == "ascending"
    assert told["down"] == best_first
    assert len(told["found"].split()) == 2
    assert told["count"] == f"2 of {count} videos"
    assert told["unseen"] == 3
    assert told["wide"]
    assert told["pictures"]
    assert told["failed"] == []

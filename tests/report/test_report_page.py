"""The page about a run: whole, closed to the outside, and honest about what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.errors import InputError
from data.judgements.pairs import Pair
from model.ranker.options import RankerOptions
from pipeline.cli import cli
from pipeline.report.command import write_report
from pipeline.report.content import ReportSettings
from tests.helpers.report_html import Page, outside_references
from tests.helpers.training import train_ranker
from tests.report.material import HOSTILE, NAMES, TRAIN


def ranked_names(page: Page) -> list[str]:
    return [cell["data-value"] for cell in page.all("th") if "data-value" in cell]


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
    assert all(
        image["src"].startswith(("data:image/jpeg", "data:image/png")) for image in page.all("img")
    )
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    for name in HOSTILE:
        assert name in page.text
    assert "{{7*7}}" in page.text
    assert sorted(ranked_names(page)) == sorted(NAMES)


def test_a_hostile_title_is_text_too(place: Path, run: Path) -> None:
    """Fails if the heading that the user gives is trusted as HTML."""
    settings = ReportSettings(title="</title><script>alert(1)</script>")
    page = write_report(run, place / "out" / "t.html", settings)
    assert len(Page(page.read_text()).all("script")) == 1


def test_the_page_holds_what_it_must(full_text: str, run: Path) -> None:
    """Fails if options, digests, versions, protocol, data, time or curves are left out."""
    text = Page(full_text).text
    for phrase in (
        "last epoch", "learning rate", "hidden size", "ab" * 32, "torch 9.8.7", "videos scored 9",
        "time of training", "no_att", "length (baseline)", "chance",
        "judged better", "judged worse", "Learning curves", "Attention",
    ):  # fmt: skip
        assert phrase in text, phrase
    assert any("over the epochs" in image["alt"] for image in Page(full_text).all("img"))
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
    for phrase in (
        "--features names their folder", "--videos names their folder", "No evaluation was given",
        "record.json is missing", "pairs are not recorded", "learning_curves.png was not found",
    ):  # fmt: skip
        assert phrase in text, phrase


def test_pictures_are_kept_to_the_best_and_the_worst(place: Path, run: Path) -> None:
    """Fails if hundreds of videos make a page of hundreds of pictures, or the cap goes unsaid."""
    settings = ReportSettings(thumbnails=4, wrong_pairs=0, sheets=0)
    text = write_report(run, place / "out" / "few.html", settings).read_text()
    page = Page(text)
    images = [image for image in page.all("img") if "Middle frame" in image["alt"]]
    gaps = sum(a.get("class") == "no-picture" for _, a in page.elements)
    assert len(images) + gaps == 4
    assert "Only 4 videos" in page.text


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
    """Fails if the flags do not reach the page, or its place is not printed."""
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


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--evaluation", "nowhere"), "no finished evaluation"),
        (("--features", "nowhere"), "no such folder"),
        (("--shard", "1/2"), "No such option"),
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

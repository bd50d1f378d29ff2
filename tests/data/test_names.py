"""Which video a name in a table stands for."""

from __future__ import annotations

import unicodedata

import pytest

from data.errors import InputError
from data.judgements.dataset import Dataset
from data.judgements.pairs import Pair
from data.names import match_names


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("videos/v01.mp4", "v01.mp4"),
        ("/data/anna/videos/v01.mp4", "v01.mp4"),
        ("/data/anna/videos/v01.mp4", "videos/v01.mp4"),
        ("D:\\videos\\v01.mp4", "videos/v01.mp4"),
        ("D:\\anna\\V01.MP4", "v01.mp4"),
        ("./v01.mp4", "v01.mp4"),
        ("v01.avi", "v01.mp4"),
        ("v01.mp4", "v01"),  # a folder of the video's frames
        ("v01", "deep/er/v01.mkv"),
        ("/home/anna/raw/v01.mp4", "clips/v01.mp4"),
    ],
)
def test_a_name_is_found_by_the_longest_common_end(name: str, key: str) -> None:
    """Tables that come from another machine would match no cache."""
    assert match_names([name], [key, "v02.mp4", "v011.mp4"]).keys == {name: key}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_unicode_is_compared_in_one_form(form: str) -> None:
    """A name that looks the same, as macOS writes it, would be called missing."""
    other = "NFD" if form == "NFC" else "NFC"
    name, key = (unicodedata.normalize(each, "Übung/é1.mp4") for each in (form, other))
    assert name != key
    assert match_names([name], [key]).keys == {name: key}


def test_the_longer_end_and_the_extension_decide() -> None:
    """A video of the same name in another folder, or of another format, would be taken."""
    keys = ["a/v.mp4", "b/v.mp4", "w.avi", "w.mp4"]
    names = ["/x/a/v.mp4", "/x/b/v.mkv", "w.mp4"]
    assert match_names(names, keys).keys == {
        "/x/a/v.mp4": "a/v.mp4",
        "/x/b/v.mkv": "b/v.mp4",
        "w.mp4": "w.mp4",
    }
    with pytest.raises(InputError, match=r"'w\.mov' may be any of 2 videos, e\.g\. w\.avi, w\.mp4"):
        match_names(["w.mov"], keys)


def test_names_in_other_folders_never_take_a_video_from_each_other() -> None:
    """A video without features would silently get those of another of the same name."""
    matching = match_names(["s1/t.mp4", "s2/t.mp4"], ["s2/t.mp4"])
    assert matching.keys == {"s2/t.mp4": "s2/t.mp4"}
    assert matching.unknown == ("s1/t.mp4",)
    assert match_names(["s1/t.mp4", "s2/t.mp4"], ["s3/t.mp4"]).keys == {}
    matching = match_names(["s1/t.mp4"], ["s2/t.mp4", "s3/t.mp4"])
    assert matching.unknown == ("s1/t.mp4",)
    assert "s2/t.mp4, s3/t.mp4" in matching.notes()[0]
    with pytest.raises(InputError, match=r"'s1/t\.mp4' and 's2/t\.mp4' .* are both video 't\.mp4'"):
        match_names(["s1/t.mp4", "s2/t.mp4"], ["t.mp4"])


def test_a_match_by_the_end_alone_is_reported() -> None:
    """The user could not see that folders of the table and of the videos differ."""
    (note,) = match_names(["/old/raw/v.mp4"], ["clips/v.mp4"]).notes()
    assert "/old/raw/v.mp4 is clips/v.mp4" in note
    assert match_names(["/old/clips/v.mp4"], ["clips/v.mp4"]).notes() == []


def test_tasks_in_published_names_are_kept_apart() -> None:
    """Features of one task would count as those of another with the same numbers."""
    name = "Suturing/B001"
    files = {name: ("Suturing/Suturing_B001_capture2", name)}
    data = Dataset("x", [Pair(name, "Suturing/C001")], [], files=files)
    assert data.match(["Knot_Tying/B001.avi", "B001.avi"]).keys == {}
    assert data.match(["Suturing/B001.avi"]).keys == {name: "Suturing/B001.avi"}


@pytest.mark.parametrize(("name", "key"), [("v.1", "v.2"), ("v.mp4", "v.1"), ("v.1.mp4", "v.mp4")])
def test_a_dot_is_part_of_the_name(name: str, key: str) -> None:
    """Numbers after a dot would be taken for extensions, and other videos matched."""
    assert match_names([name], [key]).keys == {}


@pytest.mark.parametrize("name", ["", "/", "..", "\\"])
def test_names_of_nothing_match_nothing(name: str) -> None:
    """An empty cell would end in a traceback."""
    assert match_names([name], ["a.mp4"]).unknown == (name,)

"""Whatever is in a table that people write, or in a name, a command answers in its own words.

As `test_fuzz.py`, for pairs and scores, lists and tables of videos, names of files, and the rule by
which names of tables and keys of caches belong together.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.cache.features import create_features
from data.cache.folder import cache_path
from data.cache.header import Header
from data.errors import InputError
from data.names import match_names
from tests.helpers.fuzz import check, examples
from tests.helpers.small_video import write_video

KEYS = ("a.avi", "b.mp4", "é/c.avi", "é/d e.mkv", "s1/a.avi", "#5.avi", "=sum.avi")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and feature caches of the same keys."""
    folder = tmp_path_factory.mktemp("fuzz_tables")
    for number, key in enumerate(KEYS):
        write_video(folder / "video.avi", 3)
        (folder / "videos" / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "video.avi", folder / "videos" / key)
        header = Header(
            kind="features", source=key, source_digest=f"{number % 6:064}", decoded_frames=40
        )
        frames = np.arange(4) * 10
        with create_features(
            cache_path(folder / "maps", key), header, frames, frames / 25, (4, 2, 2)
        ) as writer:
            for row in range(4):
                writer.put(row, np.full((4, 2, 2), number + row, np.float32))
    return folder


def spellings(key: str) -> st.SearchStrategy[str]:
    """Return ways in which a table may spell a video."""
    stem = os.path.splitext(key)[0]
    return st.sampled_from([
        key, stem, f"{stem}.mov", f"videos/{key}", f"./{key}", f"/data/anna/videos/{key}",
        "D:\\videos\\" + key.replace("/", "\\"), key.upper(), unicodedata.normalize("NFD", key),
        key.rpartition("/")[2], f"../{key}", f"{key} ", f"'{key}", key + "\u200b",
    ])  # fmt: skip


SAFE = st.characters(exclude_categories=["Cs"])
WORDS = st.one_of(
    st.sampled_from(KEYS).flatmap(spellings),
    st.sampled_from(KEYS).flatmap(spellings),
    st.sampled_from(
        ["", "tie", "1", "-3.5", "1,5", "1,234", "nan", "1e999", "Best", "#", '"', "\0"]
    ),
    st.text(SAFE, max_size=6),
)
HEADERS = st.sampled_from([
    "better,worse", "Better,Worse,", "Vid1,Vid2,Best", "video1,video2,winner", "video,score",
    "path,skill", "task,vid_id,start_seconds,end_seconds", "video,frame,x0,y0,x1,y1", "video", "a",
    "", "better;worse", "better\tworse", "sep=;\nbetter;worse", "video,frames,path",
])  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a table: mostly one that could be meant."""
    header = draw(HEADERS)
    delimiter = next((each for each in ";\t" if each in header), draw(st.sampled_from(",, ;")))
    rows = draw(st.lists(st.lists(WORDS, min_size=1, max_size=4), max_size=6))
    lines = [header, *(delimiter.join(row) for row in rows)]
    text = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])).join(lines)
    codec = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return text.encode(codec, "replace") + draw(st.sampled_from([b"", b"\n", b"\0", b"\xff"]))


CONTENT = st.one_of(tables(), tables(), tables(), st.binary(max_size=40))


@given(CONTENT, st.sampled_from([".csv", ".txt", ".tsv"]), st.integers(0, 4))
@examples(0.15)
def test_judgements(place: Path, content: bytes, ending: str, way: int) -> None:
    """Pairs and scores are typed by hand and saved by every spreadsheet there is."""
    table = place / f"table{ending}"
    table.write_bytes(content)
    try:
        pairs = ("--features", place / "maps", "--pairs", table, "-o", place / "out", "--dry-run")
        command = (
            ("inspect", table, "--features", place / "maps"),
            ("train-ranker", *pairs, "--device", "cpu"),
            ("train-ranker", *pairs, "--device", "cpu", "--missing", "skip"),
            ("evaluate", *pairs, "--device", "cpu", "--folds", 2, "--missing", "skip"),
            ("inspect", table),
        )[way]
        check(*command, folder=place)
        assert not (place / "out").exists()
    finally:
        table.unlink()


@given(CONTENT, st.sampled_from(["l.txt", "#l.csv", "l.csv", "@l.csv"]), st.booleans())
@examples(0.15)
def test_lists_and_tables_of_videos(place: Path, content: bytes, name: str, inside: bool) -> None:
    """A list comes from another machine, with labels, comments and another's spelling."""
    folder = place / "videos" if inside else place
    given_ = f"@{folder / name}" if name == "l.txt" else folder / name
    (folder / name).write_bytes(content)
    try:
        check("extract-flow", given_, "-o", place / "out", "--dry-run", folder=place)
        assert not (place / "out").exists()
    finally:
        (folder / name).unlink()


FILE_NAMES = st.one_of(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1),
    st.binary(min_size=1, max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"/", b"_"))),
    st.sampled_from(
        ["-o", "--help", "@a", "~", "$HOME", "a\nb", "\x1b[2J", "%s", "{0}", "*", "CON"]
    ),
).filter(lambda name: "\0" not in name and len(os.fsencode(name)) <= 200)


@given(FILE_NAMES, FILE_NAMES, st.sampled_from([".avi", ".AVI", ""]))
@examples(0.03)
def test_names_of_files(place: Path, folder: str, name: str, ending: str) -> None:
    """A name that is no text, that looks like an option or that moves the cursor."""
    world, output = place / "names", place / "names" / "out"
    shutil.rmtree(world, ignore_errors=True)
    (world / "in").mkdir(parents=True)
    inside = world / "in" / folder if folder not in (".", "..") else world / "in"
    inside.mkdir(exist_ok=True)
    try:
        video = inside / (name + ending if name not in (".", "..") else "x.avi")
        shutil.copy(place / "video.avi", video)
    except (OSError, shutil.Error):  # The system has no such name.
        return
    fast = ("--engine", "opencv", "--short-side", 32, "--device", "cpu", "-j", 1)
    fast += ("--stack-length", 2, "--segments", 1, "--candidates", 1)
    done = check("extract-flow", *fast, "-o", output, world / "in", folder=world, output=output)
    if done.exit_code == 0:
        seen = check("inspect", output, "--verify", folder=world)
        assert seen.exit_code == 0, seen.output
        assert not [line for line in seen.stdout.splitlines() if "\x1b" in line]
    else:
        assert not list(output.rglob("*.h5")) or done.exit_code == 1


PARTS = st.sampled_from(["a", "b", "A", "é", "e\u0301", "v.1", "s1", "x"])
ENDINGS = st.sampled_from(["", ".avi", ".mp4", ".MP4", ".h5"])
PATHS = st.builds(
    lambda parts, end: "/".join(parts) + end, st.lists(PARTS, min_size=1, max_size=3), ENDINGS
)


@given(st.lists(PATHS, max_size=6, unique=True), st.lists(PATHS, max_size=6, unique=True))
@examples(0.15)
def test_names_and_keys(names: list[str], keys: list[str]) -> None:
    """A name takes another's video, or which one it takes depends on the order of the table."""
    found = outcome(names, keys)
    assert found == outcome(names[::-1], keys[::-1])
    if isinstance(found, str):
        return
    assert set(found.values()) <= set(keys)
    assert len(set(found.values())) == len(found)
    for name, key in found.items():
        end, key_end = (plain(each).rpartition("/")[2] for each in (name, key))
        assert end in (key_end, key_end.rpartition(".")[0])  # A key may have any extension.
    # The same table from Windows.
    there = {name: "D:\\" + name.replace("/", "\\") for name in names}
    moved = outcome(list(there.values()), keys)
    if not isinstance(moved, str):
        assert set(moved.values()) <= set(keys)


def outcome(names: list[str], keys: list[str]) -> dict[str, str] | str:
    try:
        return match_names(names, keys).keys
    except InputError:
        return "refused"


def plain(name: str) -> str:
    stem, dot, ending = unicodedata.normalize("NFC", name).casefold().rpartition(".")
    return stem if dot and ending in ("avi", "mp4") else stem + dot + ending

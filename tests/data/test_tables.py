"""Tables as spreadsheets and people write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.errors import InputError
from data.judgements.boxes import read_boxes
from data.judgements.comparisons import decided, read_comparisons, read_pairs, tied
from data.judgements.options import DatasetOptions
from data.judgements.pairs import Pair, read_scores
from data.judgements.reading import read_dataset
from data.sources import find_sources
from data.tables import formula_safe, read_rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nvideo;score\nü1.mp4;1,5\nb.mp4;-2\n",
        '"sep=;"\r\nvideo;score\r\nü1.mp4;1,5\r\nb.mp4;-2\r\n',
        "video\tscore\nü1.mp4\t1,5\nb.mp4\t-2\n",
        'video,score\nü1.mp4,"1,5"\nb.mp4,-2\n',
    ],
)
def test_scores_are_read_as_any_spreadsheet_saves_them(
    tmp_path: Path, text: str, encoding: str
) -> None:
    """Tables of a German Excel would be refused, or a score read as another."""
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode(encoding))
    assert read_scores(path) == {"ü1.mp4": 1.5, "b.mp4": -2.0}


def test_three_digits_after_a_comma_among_commas_are_refused(tmp_path: Path) -> None:
    """1,234 would silently be 1.234 where thousands are meant."""
    path = tmp_path / "scores.csv"
    path.write_text('video,score\na,"1,234"\nb,"2"\n')
    with pytest.raises(InputError, match="line 2: expected a video and a finite score"):
        read_scores(path)
    path.write_text("video;score\na;1,234\nb;2\n")
    assert read_scores(path) == {"a": 1.234, "b": 2.0}


@pytest.mark.parametrize("start", ["", "sep=;\n"])
def test_tables_of_videos_and_boxes_take_semicolons(tmp_path: Path, start: str) -> None:
    """The same spreadsheet's tables would be read in one command and refused in another."""
    (tmp_path / "a.mp4").write_bytes(b"x")
    table = tmp_path / "videos.csv"
    table.write_text(f"{start}id;video\n1;a.mp4\n")
    assert [source.key for source in find_sources([table])] == ["a.mp4"]
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f"{start}video;frame;x0;y0;x1;y1\na.mp4;3;0,1;0,2;0,5;0,6\n")
    assert read_boxes(boxes, ["a.mp4"]) == {"a.mp4": {3: (0.1, 0.2, 0.5, 0.6)}}


def test_line_numbers_count_the_separator_line(tmp_path: Path) -> None:
    """An error would name the line before the wrong one."""
    path = tmp_path / "scores.csv"
    path.write_text("sep=;\nvideo;score\na;1\nb;x\n")
    with pytest.raises(InputError, match="line 4"):
        read_scores(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "Vid1,Vid2,Best\nv01,v02,v01\nv02,v03,tie\nv03,v04,\nv04,v05,Equal\n"),
        ("p.csv", "better,worse\nv01,v02\nv02,v03,tie\nv03,v04,same\nv04,v05,0\n"),
        ("p.txt", "v01 v02\nv02 v03 tie\nv03 v04 draw\nv04 v05 equal\n"),
    ],
)
def test_ties_are_left_out_and_counted(tmp_path: Path, name: str, text: str) -> None:
    """A table with undecided comparisons would be refused, or a tie taken for a judgement."""
    path = tmp_path / name
    path.write_text(text)
    judged = read_comparisons(path)
    assert decided(judged) == [Pair("v01", "v02")]
    assert len(tied(judged)) == 3
    assert read_dataset(path, DatasetOptions(), divided=False).ties == 3


def test_ties_alone_are_refused_with_their_number(tmp_path: Path) -> None:
    """The message would say that the table is empty."""
    path = tmp_path / "p.csv"
    path.write_text("Vid1,Vid2,Best\na,b,tie\nc,d,\n")
    with pytest.raises(InputError, match=r"holds no pairs.* found 2 ties alone"):
        read_comparisons(path)


def test_a_video_may_be_called_like_a_tie(tmp_path: Path) -> None:
    """A video called `same` that wins would be left out."""
    path = tmp_path / "p.csv"
    path.write_text("Vid1,Vid2,Best\nsame,b,same\n")
    judged = read_comparisons(path)
    assert (decided(judged), tied(judged)) == ([Pair("same", "b")], [])


def test_decomposed_and_composed_names_of_a_table_are_one_video(tmp_path: Path) -> None:
    """Two people's rows about one video would be about two."""
    path = tmp_path / "p.csv"
    path.write_text("better,worse\ne\u0301,a\na,\u00e9\n")
    pairs = read_pairs(path)
    assert pairs[0] == pairs[1].reversed()


def test_a_pipe_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    """Every command that reads the table would hang."""
    os.mkfifo(tmp_path / "p.csv")
    with pytest.raises(InputError, match="not a regular file"):
        read_rows(tmp_path / "p.csv")


@pytest.mark.parametrize("name", ["=1+1.mp4", "+a", "-a.mp4", "@sum", "\tx", "-x;y.mp4"])
def test_names_like_formulas_become_text_and_come_back(tmp_path: Path, name: str) -> None:
    """A spreadsheet would compute a video's name; or our own file would match no video."""
    assert formula_safe(name) == "'" + name
    path = tmp_path / "t.csv"
    path.write_text(f'video,score\n"{formula_safe(name)}",1\n')
    assert read_rows(path)[1].cells[0] == name


@pytest.mark.parametrize("value", ["-0.5", "-1e-05", -2, 3.5, "a-b", "'quoted'", ""])
def test_numbers_and_other_names_stay(value: object) -> None:
    """Negative scores would become text."""
    assert formula_safe(value) == value

"""Tables of boxes: read by cache key, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import InputError
from data.judgements.boxes import read_boxes

HEADER = "video,frame,x0,y0,x1,y1\n"


def test_boxes_are_read_by_key(tmp_path: Path) -> None:
    """Attention would be measured against another video's box, or one outside the frame."""
    path = tmp_path / "boxes.csv"
    path.write_text(HEADER + "a,3,.1,.2,.5,1.5\na,4,.5,0,.5,1\nother,3,0,0,1,1\n")
    assert read_boxes(path, ["set/a.mp4", "set/b.mp4"]) == {"set/a.mp4": {3: (0.1, 0.2, 0.5, 1.0)}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,frame,x0,y0,x1\n", "expected the columns 'video,frame,x0,y0,x1,y1'"),
        (HEADER + "a,3,0,0,1\n", "line 2: expected a video, a frame number and four numbers"),
        (HEADER + "a,3.5,0,0,1,1\n", "line 2: expected a video, a frame number and four numbers"),
        (HEADER + "other,3,0,0,1,1\n", "none of its 1 videos is judged"),
    ],
)
def test_bad_boxes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    """A damaged or foreign table would measure attention against nothing, without a word."""
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_boxes(path, ["a.mp4"])

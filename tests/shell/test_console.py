"""What reaches the terminal: one line a message, and no control characters of file names."""

from __future__ import annotations

import io
import json
import sys

import pytest

from pipeline.shell import console
from pipeline.shell.words import printable, table_text

#: Clears the screen, starts a line of its own, and ends in a byte that is no UTF-8.
NAME = "a\x1b[2J\nerror: b\udcff.mp4"
ESCAPED = "a\\x1b[2J\\nerror: b\\udcff.mp4"


def test_names_reach_the_terminal_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """A file name that clears the screen or forges a line, or ends the command by an error."""
    console.configure()
    console.emit(f"{NAME}: 1 video")
    console.log.error("%s: damaged", NAME)
    console.fail(f"{NAME}: not there")
    shown = capsys.readouterr()
    assert shown.out == f"{ESCAPED}: 1 video\n"
    assert shown.err == f"error: {ESCAPED}: damaged\nerror: {ESCAPED}: not there\n"


def test_names_in_tables_keep_to_their_line() -> None:
    """A newline in one name breaks the rows of all others."""
    assert table_text([("video", "score"), (NAME, "1")]).count("\n") == 1


def test_log_lines_stay_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A log collector drops lines that it cannot parse."""
    console.configure(json_lines=True)
    console.log.warning("%s: damaged", NAME)
    assert json.loads(capsys.readouterr().err)["message"] == f"{NAME}: damaged"


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "3 \\xd7 4"), ("utf-8", "3 × 4")])
def test_text_that_the_stream_lacks_is_escaped(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pipeline inspect > list.txt` ends by UnicodeEncodeError under an old locale."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    console.emit("3 × 4")
    sys.stdout.flush()
    assert raw.getvalue().decode(encoding) == f"{shown}\n"


def test_ordinary_names_are_left_as_they_are() -> None:
    """Names in other scripts would be unreadable if escaped."""
    for name in ("Übung 1.mp4", "結び\u3000目.mov", "a\u00a0b", "👩\u200d⚕️.avi"):
        assert printable(name) == name


def test_closed_streams_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that closes stderr would end every command at its first log line."""
    console.configure()
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    console.log.warning("odd")
    console.emit("result")
    for _ in console.progress(range(2)):
        pass


def test_bars_hold_no_semaphore_of_the_system() -> None:
    """A worker that is killed leaves it behind, and Python warns of it after the last line."""
    from tqdm import tqdm
    from tqdm.std import TqdmDefaultWriteLock

    list(console.progress(range(2)))
    assert not isinstance(tqdm.get_lock(), TqdmDefaultWriteLock)

"""extract-flow with lists and folders of other people."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.extract_flow.test_extract_flow import SMALL, run, write_video
from tests.helpers.inspected import run as run_inspect


@pytest.mark.parametrize("dry", [False, True])
def test_a_missing_entry_is_one_failure(tmp_path: Path, dry: bool) -> None:
    """One wrong line of a list stops all videos, or is passed over with exit code 0."""
    write_video(tmp_path / "a.avi")
    (tmp_path / "list.txt").write_text("gone.avi 3\na.avi 1\n")
    output = tmp_path / "flow"
    result = run(f"@{tmp_path}/list.txt", "-o", output, *SMALL, *["--dry-run"] * dry)
    if dry:
        assert result.exit_code == 0, result.output
        return
    assert result.exit_code == 1, result.output
    assert f"gone.avi: {tmp_path}/gone.avi: no such file" in result.output
    assert (output / "a.avi.h5").is_file()
    again = run(f"@{tmp_path}/list.txt", "-o", output, *SMALL)
    assert again.exit_code == 1
    assert "1 of 2 failed" in again.output


def test_a_folder_that_cannot_be_read_is_one_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its videos are lost, and the exit code says that all is well.

    The refusal is made here, because root may read every folder.
    """
    write_video(tmp_path / "in/a.avi")
    write_video(tmp_path / "in/closed/b.avi")
    closed = str(tmp_path / "in/closed")

    def refuse(name: str) -> None:
        original = getattr(os, name)

        def listing(path: str = ".") -> object:
            if os.fspath(path) == closed:
                raise PermissionError(errno.EACCES, "Permission denied", closed)
            return original(path)

        monkeypatch.setattr(os, name, listing)

    refuse("scandir")
    refuse("listdir")
    result = run(tmp_path / "in", "-o", tmp_path / "flow", *SMALL)
    assert result.exit_code == 1, result.output
    assert f"closed: {closed}: the folder cannot be read: permission denied" in result.output
    assert (tmp_path / "flow/a.avi.h5").is_file()


def test_system_files_and_excluded_videos_get_no_caches(tmp_path: Path) -> None:
    """Previews and trash of a file server are computed, or fail."""
    write_video(tmp_path / "in/a.avi")
    write_video(tmp_path / "in/b_preview.avi")
    for name in ("@eaDir/a.avi/FILM.mp4", "#recycle/c.avi", "._a.avi"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    flags = ["--exclude", "*_preview.*", *SMALL]
    result = run(tmp_path / "in", "-o", tmp_path / "flow", *flags)
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "flow").rglob("*.h5")] == ["a.avi.h5"]


@pytest.mark.parametrize("broken", [False, True])
def test_names_with_control_characters_are_escaped(tmp_path: Path, broken: bool) -> None:
    """A name of a file moves the cursor or forges a line of the output."""
    name = "a\x1b[31m\nerror: b\u202e.avi"
    if broken:
        (tmp_path / name).write_bytes(b"x")
    else:
        write_video(tmp_path / "b.avi").rename(tmp_path / name)
    result = run(tmp_path, "-o", tmp_path / "flow", *SMALL)
    assert result.exit_code == int(broken), result.output
    assert "\x1b[31m" not in result.output
    assert "\u202e" not in result.output
    assert not [line for line in result.output.splitlines() if line.startswith("error: b")]
    looked = run_inspect(tmp_path)
    assert "\x1b[31m" not in looked.output
    assert "\u202e" not in looked.output
    assert not [line for line in looked.output.splitlines() if line.startswith("error: b")]

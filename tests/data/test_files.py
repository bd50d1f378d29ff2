"""Files are whole or absent, and what killed processes leave is swept."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.files import _host, is_temporary, sweep, temporary_name, whole_file


def write(
    path: Path, text: str, error: BaseException | None = None, *, replace: bool = True
) -> None:
    with whole_file(path, replace=replace) as temporary:
        temporary.write_text(text)
        if error is not None:
            raise error


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    """An error or Ctrl-C half way destroys the finished file, or litters the folder."""
    path = tmp_path / "a.txt"
    write(path, "old")
    for error in (KeyboardInterrupt(), OSError(errno.ENOSPC, "disk full")):
        with pytest.raises(type(error)):
            write(path, "new", error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_folders_are_created_and_a_file_in_their_place_is_an_os_error(tmp_path: Path) -> None:
    """A new folder needs a command of its own, or another error hides why none can be made."""
    write(tmp_path / "x" / "y" / "a.txt", "a")
    assert (tmp_path / "x" / "y" / "a.txt").read_text() == "a"
    with pytest.raises((FileExistsError, NotADirectoryError)):
        write(tmp_path / "x" / "y" / "a.txt" / "b.txt", "b")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_another_process_wrote_first_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Two processes that create one file replace each other's, unnoticed."""
    if not links:

        def refused(*_: object) -> None:
            raise OSError(errno.ENOTSUP, "no links")

        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "a.txt"
    write(path, "first", replace=False)
    with pytest.raises(FileExistsError):
        write(path, "second", replace=False)
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="folders are not synced there")
@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_file_systems_that_cannot_sync_folders_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    """Nothing can be written to a network share (SMB), under WSL or through FUSE."""
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(reason, "not for folders")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "a.txt", "a")
    assert (tmp_path / "a.txt").read_text() == "a"


def test_a_temporary_may_need_the_ending_of_its_format(tmp_path: Path) -> None:
    """OpenCV takes the format from the ending: it would write no video, or `sweep` miss it."""
    with whole_file(tmp_path / "a.mp4", suffix=".mp4") as temporary:
        assert temporary.suffix == ".mp4"
        assert is_temporary(temporary.name)
        temporary.touch()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_sweep_takes_the_file_of_a_killed_process_not_yet_reaped(tmp_path: Path) -> None:
    """A killed worker stays in the process table for a while: its litter would stay for good."""
    writer = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    name = temporary_name().replace(f"-{os.getpid()}-", f"-{writer.pid}-")
    (tmp_path / name).touch()
    assert sweep(tmp_path) == []
    writer.kill()
    while Path(f"/proc/{writer.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.001)
    assert [path.name for path in sweep(tmp_path)] == [name]
    writer.wait()


def test_sweep_takes_dead_processes_files_only(tmp_path: Path) -> None:
    """A start deletes what a running process writes, or never tidies after a kill."""
    finished = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    host, dead = _host(), int(finished.stdout)
    names = {
        "stale": f".dexterank-{host}-{dead}-00000000.tmp",
        "living": f".dexterank-{host}-{os.getpid()}-00000000.tmp",
        "foreign": f".dexterank-00000000-{dead}-00000000.tmp",
        "foreign, old": f".dexterank-00000000-{dead}-11111111.tmp",
        "of another program": f".dexterank-{dead}.tmp",
        "the user's": "notes.tmp",
    }
    (tmp_path / "below").mkdir()
    for name in names.values():
        (tmp_path / "below" / name).touch()
    os.utime(tmp_path / "below" / names["foreign, old"], (0, 0))
    swept = {path.name for path in sweep(tmp_path)}
    assert swept == {names["stale"], names["foreign, old"]}
    kept = {path.name for path in (tmp_path / "below").iterdir()}
    assert kept == set(names.values()) - swept

"""Other people's file systems: no locks, no folder syncs, quotas and limits of file sizes."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from data.cache.flow import open_flow
from data.errors import system_line, system_reason
from tests.helpers.shims import LITTLE_ROOM, NO_FOLDER_SYNC, NO_LOCKS, compiled, run
from tests.helpers.small_video import write_video

FAST = ("--engine", "opencv", "--short-side", "32", "--device", "cpu", "-j", "1")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two moving textures, whose caches need some 40 and 8 KB."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "long.avi", 24)
    write_video(folder / "short.avi", 2)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_caches_are_written_where_folders_cannot_be_synced(videos: Path, tmp_path: Path) -> None:
    """On SMB, in WSL and on FUSE every cache "cannot be written", though all are whole."""
    done = run("extract-flow", videos, "-o", tmp_path / "flow", *FAST,
               **compiled(NO_FOLDER_SYNC, tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "flow") == ["long.avi.h5", "short.avi.h5"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_caches_need_no_locks(videos: Path, tmp_path: Path, number: int) -> None:
    """On NFS without a lock service every write and every read of a cache fails."""
    shim = compiled(NO_LOCKS, tmp_path)
    flow = tmp_path / "flow"
    done = run("extract-flow", videos, "-o", flow, *FAST, LOCK_ERROR=str(number), **shim)
    assert done.returncode == 0, done.stderr
    done = run("inspect", "--verify", flow, LOCK_ERROR=str(number), **shim)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EDQUOT, "the disk quota is used up"), (errno.ENOSPC, "the disk is full")],
)
@pytest.mark.parametrize("allowed", [0, 3000, 12000])
def test_a_used_up_quota_is_a_failed_video(
    videos: Path, tmp_path: Path, number: int, words: str, allowed: int
) -> None:
    """A full quota ends the whole run as "unexpected RuntimeError", or crashes the process."""
    room = {"WRITE_ERROR": str(number), "ALLOWED": str(allowed)}
    flow = tmp_path / "flow"
    done = run("extract-flow", videos, "-o", flow, *FAST, **room, **compiled(LITTLE_ROOM, tmp_path))
    assert done.returncode == 1, done.stderr
    assert f"long.avi.h5: cannot be written ({words}" in done.stderr
    assert "unexpected" not in done.stderr
    assert files(flow) in ([], ["short.avi.h5"])


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_a_file_size_limit_fails_the_large_video_alone(videos: Path, tmp_path: Path) -> None:
    """Under `ulimit -f` HDF5 crashes the process, and the small videos are lost with the large."""
    flow = tmp_path / "flow"
    limit = "ulimit -f 32;"  # 16 KB where the unit is 512 bytes, as in POSIX; 32 KB elsewhere
    done = run("extract-flow", videos, "-o", flow, *FAST, "--stack-length", "3", before=limit)
    assert done.returncode == 1, done.stderr
    assert "long.avi.h5: cannot be written (the file size limit is reached" in done.stderr
    assert files(flow) == ["short.avi.h5"]
    with open_flow(flow / "short.avi.h5") as cache:
        assert len(cache) == 1


def test_errors_of_the_system_are_said_in_words() -> None:
    """A number of the system, or HDF5's text of four parts, says nothing to its reader."""
    path = "a/b.h5"
    assert system_line(OSError(errno.EROFS, "x", path)) == f"{path}: the file system is read-only"
    assert system_line(OSError(errno.ENOENT, "x", path)) == f"{path}: No such file or directory"
    assert system_line(MemoryError()) == "out of memory"
    hdf5 = "Can't synchronously write data (file write failed: errno = 27, error message = 'x')"
    assert system_reason(RuntimeError(hdf5)).startswith("the file size limit is reached")
    hdf5 = "Unable to synchronously open file (file signature not found)"
    assert system_reason(OSError(hdf5)) == "file signature not found"

"""Files that are whole or absent: written under a temporary name, synced, then renamed.

A process killed at any moment leaves the old file or none, and at worst a temporary, which the
next `sweep` of its folder deletes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: An abandoned temporary of another machine is swept after this many seconds without a write.
FOREIGN_AGE = 24 * 3600
_TEMPORARY = re.compile(r"\.dexterank-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp(\.\w+)?")
# Previews, trash and indices that file servers, macOS and Windows put among people's files.
_SYSTEM_NAMES = frozenset({
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
    "recycler", "system volume information", "lost+found", "__macosx",
})  # fmt: skip
_SYSTEM_PREFIXES = ("._", ".trash", ".appledouble", ".ds_store", ".@__thumb", ".spotlight-")
# How SMB, WSL and FUSE refuse to sync a folder.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EBADF}


@contextmanager
def whole_file(path: str | Path, *, suffix: str = "", replace: bool = True) -> Iterator[Path]:
    """Write one file: all of it, or nothing.

    Parameters
    ----------
    path : path
        Final place of the file; its folder is created.
    suffix : str
        Ending of the temporary, for writers that choose the format by it (".mp4").
    replace : bool
        Whether a file of this name may be replaced.

    Yields
    ------
    Path
        Temporary path in the same folder, to be written to. When the block ends normally the file
        is synced and renamed; when it ends by any exception, nothing is left behind.

    Raises
    ------
    FileExistsError
        Without `replace`, another process has written the file meanwhile.
    OSError
        The file cannot be written.
    """
    path = Path(path)
    temporary = path.parent / (temporary_name() + suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync_file(temporary)
        if replace or not _linked(temporary, path):
            os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):  # its folder may not even exist
            temporary.unlink()


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file its final name as well unless that is taken; False where links are unknown."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(errno.EEXIST, "File exists", str(path)) from None
        return False
    return True


def _sync_file(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Force a folder's entries onto the disk, on file systems that can."""
    if os.name == "nt":  # folders cannot be opened there
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def _host() -> str:
    """Eight characters that stand for this machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def temporary_name() -> str:
    """Name that identifies the writer; without the final name, which may be long."""
    return f".dexterank-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp"


def is_temporary(name: str) -> bool:
    """Whether a file name is that of a temporary."""
    return _TEMPORARY.fullmatch(name) is not None


def is_system_name(name: str) -> bool:
    """Whether a file or folder of this name belongs to a file system or its server, not to people.

    ``@eaDir``, ``#recycle``, ``._v.mp4``, ``$RECYCLE.BIN``, ``lost+found`` and the like.
    """
    folded = name.casefold()
    return folded in _SYSTEM_NAMES or folded.startswith(_SYSTEM_PREFIXES)


def sweep(folder: str | Path, *, below: bool = True) -> list[Path]:
    """Delete the temporaries that killed processes left in a folder and, with `below`, below it.

    Those of a process that lives on this machine stay, and those of other machines stay until
    nothing was written to them for a day. Files of any other name are never touched.

    Returns
    -------
    list of Path
        The deleted files.
    """
    swept = []
    pattern = ".dexterank-*.tmp*"
    for path in Path(folder).rglob(pattern) if below else Path(folder).glob(pattern):
        match = _TEMPORARY.fullmatch(path.name)
        if match and _is_stale(path, match["host"], int(match["pid"])):
            path.unlink(missing_ok=True)
            swept.append(path)
    return swept


def _is_stale(path: Path, host: str, pid: int) -> bool:
    """Whether the writer of a temporary is gone."""
    if host == _host():
        return not _alive(pid)
    try:
        return time.time() - path.stat().st_mtime > FOREIGN_AGE
    except FileNotFoundError:
        return False


def _alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    if os.name == "nt":  # os.kill(pid, 0) would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return not _ended(pid)


def _ended(pid: int) -> bool:
    """Whether a process has ended and waits for its parent to collect it (Linux)."""
    try:
        # The state follows the name in brackets, which may hold anything.
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return bool(state) and state[0] in "ZX"

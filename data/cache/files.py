"""Temporary files of caches being written: how they are named, synced and swept."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import time
from pathlib import Path

#: An abandoned temporary of another machine is swept after this many seconds without a write.
FOREIGN_AGE = 24 * 3600
_TEMPORARY = re.compile(r"\.dexterank-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp")


def sync(path: Path) -> None:
    """Force a file, or a folder's entries, onto the disk."""
    if os.name == "nt":  # neither a folder nor a file open for reading can be synced there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _host() -> str:
    """Eight characters that stand for this machine."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def temporary_name() -> str:
    """Name that says who writes; it leaves out the cache's own name, which may be long."""
    return f".dexterank-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp"


def sweep(folder: str | Path) -> list[Path]:
    """Delete the temporaries that killed processes left below a folder.

    Those of a process that lives on this machine stay, and those of other machines stay until
    nothing was written to them for a day. Files of any other name are never touched.

    Returns
    -------
    list of Path
        What was deleted.
    """
    swept = []
    for path in Path(folder).rglob(".dexterank-*.tmp"):
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
    """Whether a process is over and only waits for its parent to notice (Linux)."""
    try:
        # After the name in brackets, which may hold anything, comes the state.
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return bool(state) and state[0] in "ZX"

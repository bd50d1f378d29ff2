"""Errors a user can cause: the message is the one line that the command line prints."""

from __future__ import annotations

import errno
import os
import re

#: Errors of the system that have a remedy, in the words of a user; all others in the system's own.
_WORDS = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EFBIG: "the file size limit is reached; raise it (ulimit -f)",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENAMETOOLONG: "the name or the path is too long",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.EIO: "the disk or the network share does not answer (input/output error)",
}
if hasattr(errno, "EDQUOT"):
    _WORDS[errno.EDQUOT] = "the disk quota is used up; make room"
# HDF5 hides the system's number in a text of several parts.
_HDF5_NUMBER = re.compile(r"\berrno = (\d+)")
_HDF5_CALL = re.compile(
    r"^(?:\[Errno \d+\] )?(?:Unable to|Can't) (?:synchronously )?[\w ]+\((.+)\)$"
)


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was expected, what is in which file instead, and what to do.
    """


class VideoError(InputError):
    """One video cannot be used; the others go on."""


class CacheError(InputError):
    """A cache file is damaged, incomplete, or of another kind or schema."""


class StaleCacheError(CacheError):
    """A cache was made from other input, options or weights than those asked for."""


def system_reason(error: BaseException) -> str:
    """Say in a few words why the system refused something: the disk, its quota, permissions.

    Parameters
    ----------
    error : OSError, MemoryError, or what HDF5 raises
        Of another kind, its first line is returned.
    """
    if isinstance(error, MemoryError):
        return str(error) or "out of memory"
    text = str(error).partition("\n")[0]
    number = getattr(error, "errno", None)
    if number is None and (match := _HDF5_NUMBER.search(text)):
        number = int(match[1])
    if number in _WORDS:
        return _WORDS[number]
    if number and getattr(error, "filename", None) is not None:
        return os.strerror(number)
    if match := _HDF5_CALL.match(text):
        text = match[1]
    return getattr(error, "strerror", None) or text or type(error).__name__


def system_line(error: OSError | MemoryError) -> str:
    """One line for an error of the system: the file, where there is one, and the reason."""
    path = getattr(error, "filename", None)
    place = "" if path is None else f"{os.fsdecode(path) if isinstance(path, bytes) else path}: "
    return place + system_reason(error)

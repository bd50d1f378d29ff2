"""Whether caches can be written where they should go: a folder of ours, and room in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryFile

from data.errors import CacheError, InputError
from pipeline.shell.words import format_bytes

#: Free bytes without which nothing is written. HDF5 may crash the process when a write fails, so
#: none may: what it holds back until a file is closed, 8 MB and the index, must find room for each
#: of a few workers.
RESERVE = 32_000_000


def check_is_folder(output: Path) -> None:
    """Raise an InputError where a file stands in the place of the folder of caches."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: expected a folder to write caches to, found a file")


def check_writable(output: Path, flag: str = "--output") -> None:
    """See that files can be made in a folder that is there or will be made, and have room.

    `flag` is what names it on the command line.

    Raises
    ------
    InputError
        It cannot be written to, or its disk is nearly full.
    """
    try:
        with TemporaryFile(dir=_existing(output)):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{output}: cannot be written to ({reason}); choose another {flag}"
        ) from error
    check_room(output)


def check_room(path: Path) -> None:
    """Raise a CacheError where the disk that a path lies on, or will lie on, is nearly full."""
    disk = shutil.disk_usage(_existing(path))
    if disk.total and disk.free < RESERVE:  # a total of 0 is no disk
        raise CacheError(
            f"{path}: cannot be written: the disk is full ({format_bytes(disk.free)} free,"
            f" {format_bytes(RESERVE)} are kept free); make room and run the same command again"
        )


def _existing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that is there."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path

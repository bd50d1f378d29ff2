"""Whether caches can be written where they should go: a folder of ours, and room in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryFile

from data.errors import CacheError, InputError
from pipeline.console import format_bytes

#: Free bytes without which nothing is written. HDF5 may crash the process when a write fails, so
#: none may: what it holds back until a file is closed, 8 MB and the index, must find room for each
#: of a few workers.
RESERVE = 32_000_000


def check_is_folder(output: Path) -> None:
    """Raise an InputError where a file stands in the place of the folder of caches."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: expected a folder to write caches to, found a file")


def check_writable(output: Path, flag: str = "--output") -> None:
    """Make the folder of caches, and see that a file can be made in it and has room.

    `flag` is what names it on the command line.

    Raises
    ------
    InputError
        It cannot be written to, or its disk is nearly full.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=output):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{output}: cannot be written to ({reason}); choose another {flag}"
        ) from error
    check_room(output)


def check_room(path: Path) -> None:
    """Raise a CacheError where the disk that a path lies on, or will lie on, is nearly full."""
    place = path
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    disk = shutil.disk_usage(place)
    if disk.total and disk.free < RESERVE:  # a total of 0 is no disk
        raise CacheError(
            f"{path}: cannot be written: the disk is full ({format_bytes(disk.free)} free,"
            f" {format_bytes(RESERVE)} are kept free); make room and run the same command again"
        )

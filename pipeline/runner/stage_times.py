"""How long the stages that fill a folder of caches took, for `report`.

A folder of caches grows over several runs and shards; each adds a line to its ``times.jsonl``. The
caches themselves hold no times, so that equal input gives equal files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.shell.console import log

FILE_NAME = "times.jsonl"


@dataclass
class Work:
    """What a block had to do; with no videos there is nothing to record."""

    videos: int = 0


@contextmanager
def recorded(folder: Path, stage: str) -> Iterator[Work]:
    """Add the wall time of the block to a folder's times, also when it is interrupted.

    Parameters
    ----------
    folder : Path
        Where the stage writes its caches.
    stage : str
        Name of the command.
    """
    began, work = time.perf_counter(), Work()
    try:
        yield work
    finally:
        if work.videos and folder.is_dir():
            seconds = round(time.perf_counter() - began, 3)
            entry = {"stage": stage, "videos": work.videos, "seconds": seconds}
            _append(folder / FILE_NAME, entry)


def _append(path: Path, entry: dict[str, object]) -> None:
    """Add a line; a time that cannot be written is no reason to fail."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        log.debug("%s: %s", path, error)


def total(folder: Path | None, stage: str) -> float | None:
    """Return the seconds that all runs of a stage took in a folder; None where none is known."""
    path = None if folder is None else folder / FILE_NAME
    if path is None or not path.is_file():
        return None
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            if entry["stage"] == stage:
                found.append(float(entry["seconds"]))
        except (ValueError, KeyError, TypeError):  # a line cut off by a crash
            continue
    return sum(found) if found else None

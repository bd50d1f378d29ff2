"""Versions of other projects: the lowest that setup.cfg admits, and those other than the lock's.

Usage: `python .ci/versions.py lowest` prints constraints that pin every lower bound;
`python .ci/versions.py differences` lists installed packages whose version is not the locked one.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def lowest() -> Iterator[str]:
    """Yield `name==version` for every requirement of setup.cfg that has a lower bound."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    for line in "\n".join(listed).splitlines():
        if match := re.fullmatch(r"\s*([\w.-]+)>=([\w.]+)", line):
            yield f"{match[1]}=={match[2]}"


def differences() -> Iterator[str]:
    """Yield a line for every installed package whose version the lock does not hold."""
    locked: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([\w.-]+)==([^\s;]+)", line):
            locked.setdefault(_plain(match[1]), set()).add(match[2])
    for package in importlib.metadata.distributions():
        name, version = _plain(package.metadata["Name"]), package.version
        if name in locked and version.partition("+")[0] not in locked[name]:
            yield f"  {name} {version} (locked: {', '.join(sorted(locked[name]))})"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    print("\n".join(sorted({"lowest": lowest, "differences": differences}[sys.argv[1]]())))

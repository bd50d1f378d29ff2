"""Published annotation formats, one module each, by their names for --dataset.

To add one, write its module and name it in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from data.judgements.dataset import Dataset
from data.judgements.formats import best, epic_skills, infant_grasp, jigsaws, mit_dive, raan


class Format(Protocol):
    """The functions of a format's module."""

    def holds(self, path: Path) -> bool:
        """Whether a folder, or a file where the format has single files, is of this format."""

    def tasks(self, folder: Path) -> list[str]:
        """Tasks of a folder that holds this format; none where it has no tasks."""

    def read(self, path: Path, task: str | None = None, score_gap: float | None = None) -> Dataset:
        """Read one task, with the published folds; scored videos differ by more than the gap."""


FORMATS: Mapping[str, Format] = {
    "epic-skills": epic_skills,
    "raan": raan,
    "best": best,
    "infant-grasp": infant_grasp,
    "jigsaws": jigsaws,
    "mit-dive": mit_dive,
}

"""Synthetic pick-and-place videos whose skill is known: for the demo, the tests, the benchmarks."""

from __future__ import annotations

from data.synthetic.options import SkillEffects, SyntheticOptions
from data.synthetic.writer import (
    SyntheticVideo,
    generate,
    plan_set,
    prepare_folder,
    write_tables,
    write_video,
)

__all__ = [
    "SkillEffects",
    "SyntheticOptions",
    "SyntheticVideo",
    "generate",
    "plan_set",
    "prepare_folder",
    "write_tables",
    "write_video",
]

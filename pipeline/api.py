"""The commands as functions, for notebooks and scripts: paths in, plain results out.

Each does what its command does, by the same code. Options are keywords with the names of the
command's flags (`--stack-length` is `stack_length`), checked as the command line checks them.
Input that cannot be used raises `InputError` with the line that the command would print; a video
that cannot be used is listed in `failures` and does not stop the others.
"""

from __future__ import annotations

from data.errors import InputError
from pipeline.api_answers import describe, explain_videos, run_demo, score_videos, write_report
from pipeline.api_results import (
    CrossValidation,
    Demonstration,
    Explained,
    Extracted,
    LearntFusion,
    Scored,
    Trained,
)
from pipeline.api_training import cross_validate, extract, learn_fusion, train

__all__ = [
    "CrossValidation",
    "Demonstration",
    "Explained",
    "Extracted",
    "InputError",
    "LearntFusion",
    "Scored",
    "Trained",
    "cross_validate",
    "describe",
    "explain_videos",
    "extract",
    "learn_fusion",
    "run_demo",
    "score_videos",
    "train",
    "write_report",
]

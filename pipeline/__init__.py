"""The command line, one folder a command, and the same for notebooks.

>>> from pipeline import extract, train, score_videos, explain_videos  # doctest: +SKIP

These names are functions of `pipeline.api`, which is imported when one of them is first used, so
that `import pipeline` and the command line load nothing that they do not need. None of them is
the name of a room in this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data.errors import InputError
    from pipeline.api import (
        cross_validate,
        describe,
        explain_videos,
        extract,
        import_arrays,
        learn_fusion,
        run_demo,
        score_videos,
        train,
        write_report,
    )

__all__ = [
    "InputError",
    "cross_validate",
    "describe",
    "explain_videos",
    "extract",
    "import_arrays",
    "judge_videos",
    "learn_fusion",
    "run_demo",
    "score_videos",
    "train",
    "write_report",
]


def __getattr__(name: str) -> object:
    """Import `pipeline.api` when one of its functions is asked for."""
    if name in __all__:
        from pipeline import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name the functions before they are imported."""
    return sorted({*globals(), *__all__})

"""Scores of new videos for reading, as CSV and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.errors import InputError
from pipeline.runner.files import check_writable, write_csv, write_json
from pipeline.score.ranking import Neighbour
from pipeline.score.scores import ScoreResult, VideoScore
from pipeline.shell.words import table_text

# The columns of the CSV, and the fields of a video in the JSON; those of an ensemble stand between
# the first and the last.
_Columns = dict[str, Callable[[Any], Any]]
_COLUMNS: _Columns = {
    "video": lambda row: row.video,
    "score": lambda row: row.score,
    "standardised": lambda row: row.standardised,
    "rank": lambda row: row.place.rank,
    "of": lambda row: row.place.of,
    "percentile": lambda row: row.place.percentile,
    "better": lambda row: row.place.better and row.place.better.video,
    "better_score": lambda row: row.place.better and row.place.better.score,
    "worse": lambda row: row.place.worse and row.place.worse.video,
    "worse_score": lambda row: row.place.worse and row.place.worse.score,
}
_ENSEMBLE: _Columns = {
    "spread": lambda row: row.spread,
    "rank_best": lambda row: row.ranks[0],
    "rank_worst": lambda row: row.ranks[1],
}
_LAST: _Columns = {"note": lambda row: row.note, "path": lambda row: row.path}
# Digits of these columns; other numbers are exact.
_DIGITS = {"standardised": 6, "percentile": 2, "spread": 6}
# A JSON file with these keys was written by `score`.
_KEYS = {"run", "members", "training", "videos", "failures"}
# Columns of the printed table that hold names, aligned to the left.
_NAMES = ("video", "next better", "next worse")


def lines(result: ScoreResult) -> list[str]:
    """Return the scores as a table, best first, with what the numbers mean below it."""
    rows = _best_first(result)
    several = rows[0].spread is not None
    head = ["video", "score", "rank", "percentile", "next better", "next worse"]
    if several:
        head[2:2] = ["±"]
        head[4:4] = ["ranks"]
    names = [column for column, name in enumerate(head) if name in _NAMES]
    table = table_text([head, *(_cells(row, several) for row in rows)], left=names)
    by_note: dict[str, list[str]] = {}
    for row in rows:
        if row.note:
            by_note.setdefault(row.note, []).append(row.video)
    notes = [f"{', '.join(videos)}: {note}" for note, videos in by_note.items()]
    return [*table.split("\n"), "", *_explanation(result, several), *notes]


def _cells(row: VideoScore, several: bool) -> list[str]:
    place = row.place
    cells = [
        row.video,
        f"{row.score:+.3f}",
        f"{place.rank} of {place.of}",
        f"{place.percentile:.0f} %",
        _neighbour(place.better, "best of all"),
        _neighbour(place.worse, "lowest of all"),
    ]
    if several and row.ranks is not None:
        cells[2:2] = [f"{row.spread or 0.0:.3f}"]
        cells[4:4] = [f"{row.ranks[0]} … {row.ranks[1]}"]
    return cells


def _neighbour(neighbour: Neighbour | None, otherwise: str) -> str:
    return otherwise if neighbour is None else f"{neighbour.video} ({neighbour.score:+.3f})"


def _explanation(result: ScoreResult, several: bool) -> list[str]:
    reference = result.reference
    count = len(reference.videos)
    low, high = float(reference.scores.min()), float(reference.scores.max())
    if not several:
        return [
            f"Ranked among the {count} training videos, whose scores run from {low:+.3f} to "
            f"{high:+.3f} (mean {reference.mean:+.3f}, sd {reference.deviation:.3f}).",
        ]
    return [
        f"Mean of {len(result.members)} runs, each standardised on its own training videos; ± is "
        "the standard deviation over the runs, ranks are the best and the worst of theirs.",
        f"Ranked among {count} training videos, whose mean scores run from {low:+.3f} to "
        f"{high:+.3f}.",
    ]


def _values(row: VideoScore) -> dict[str, Any]:
    """Return the values of a video's columns; None where there is no neighbour."""
    columns = _COLUMNS | (_ENSEMBLE if row.ranks is not None else {}) | _LAST
    return {name: value(row) for name, value in columns.items()}


def _best_first(result: ScoreResult) -> list[VideoScore]:
    return sorted((row for _, row in result.outcome.results), key=lambda row: -row.score)


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.{_DIGITS[name]}f}" if name in _DIGITS else str(value)


def claim(
    folder: Path | None, table: Path | None, everything: Path | None
) -> tuple[Path | None, Path | None]:
    """Return where to write CSV and JSON; refuse to replace what `score` did not write.

    Raises
    ------
    InputError
        Another file is in the way, such as the scores.csv of a run folder, or a place cannot be
        written to.
    """
    if folder is not None:
        if folder.exists() and not folder.is_dir():
            raise InputError(
                f"{folder}: a file; --output must be a folder (or use --csv and --json)"
            )
        table, everything = table or folder / "scores.csv", everything or folder / "scores.json"
    for path, flag, is_ours in ((table, "--csv", _is_table), (everything, "--json", _is_record)):
        if path is None:
            continue
        check_writable(path.parent, f"--output or {flag}")
        if not path.exists():
            continue
        if not path.is_file():
            raise InputError(f"{path}: not a plain file; name another place for the scores")
        try:
            ours = path.stat().st_size == 0 or is_ours(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        if not ours:
            raise InputError(
                f"{path}: already exists and was not written by score; name another place with "
                "--output, --csv or --json"
            )
    return table, everything


def _is_table(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().startswith(",".join(_COLUMNS))


def _is_record(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and content.keys() >= _KEYS


def write_results(
    result: ScoreResult, run: Path, table: Path | None, everything: Path | None
) -> None:
    """Write CSV and JSON where places for them are given."""
    if table is not None:  # Also without scores: an earlier table must not remain.
        rows = [
            {name: _text(name, value) for name, value in _values(row).items()}
            for row in _best_first(result)
        ]
        write_csv(table, rows, None if rows else (*_COLUMNS, *_LAST))
    if everything is not None:
        write_json(everything, _everything(result, run))


def records(result: ScoreResult) -> list[dict[str, Any]]:
    """Return one record a video, best first, as scores.json holds them."""
    return [_record(row) for row in _best_first(result)]


def _everything(result: ScoreResult, run: Path) -> dict[str, Any]:
    reference = result.reference
    return {
        "run": str(run),
        "members": [
            {
                "run": str(member.folder),
                "variant": member.run.ranker.variant,
                "seed": member.run.seed,
                "training_videos": len(member.reference.videos),
                "mean": member.reference.mean,
                "sd": member.reference.deviation,
            }
            for member in result.members
        ],
        "weights": result.members[0].run.weights,
        "training": dict(zip(reference.videos, reference.scores.tolist(), strict=True)),
        "videos": records(result),
        "failures": [{"video": s.key, "message": m} for s, m in result.outcome.failures],
        "version": importlib.metadata.version("dexterank"),
    }


def _record(row: VideoScore) -> dict[str, Any]:
    """Return a video for the JSON: its columns as numbers, and more."""
    values = {
        name: round(value, _DIGITS[name]) if name in _DIGITS else value
        for name, value in _values(row).items()
    }
    return values | {"members": row.members, "warnings": list(row.warnings)}

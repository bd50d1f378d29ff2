"""Records of where a run and an evaluation came from, which neither checkpoint nor tables hold.

`train-ranker` leaves ``record.json`` in its run folder, `evaluate` leaves ``folds.json`` next to
its tables. Both name videos by cache key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.judgements.agreement import Agreement
from data.judgements.pairs import Pair
from data.judgements.splits import Split
from pipeline.runner.files import write_json
from pipeline.runs.folder import CHECKPOINT, RECORD

FOLDS = "folds.json"
RECORD_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Where a run came from.

    Attributes
    ----------
    features : Path
        Feature caches it was trained on, where they lay then.
    train, validation, test : list of Pair
        Pairs that it was fitted on, that chose its epoch, and that judged it.
    seconds : float
        Wall time of training, over all calls that went on with it.
    versions : dict of str to str
        Libraries that trained it.
    agreement : Agreement or None
        Of the judges, where their judgements say anything about it.
    """

    features: Path
    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
    seconds: float
    versions: dict[str, str]
    agreement: Agreement | None = None


@dataclass(frozen=True, kw_only=True)
class FoldsRecord:
    """The folds of an evaluation.

    Attributes
    ----------
    splits : tuple of Split
    groups : dict of str to str, or None
        Group of each video where no group has videos on both sides of a fold.
    known : str or None
        Key of the paper's own table for this data set.
    tasks : dict of str to str
        Task of each video of a merged set; empty for a single task.
    agreement : Agreement or None
        Of the judges.
    """

    splits: tuple[Split, ...]
    groups: dict[str, str] | None = None
    known: str | None = None
    tasks: dict[str, str] = field(default_factory=dict)
    agreement: Agreement | None = None


def write_run_record(folder: Path, record: RunRecord) -> None:
    """Write the record of a run next to its checkpoint, which must exist."""
    content = {
        "format": RECORD_FORMAT,
        "checkpoint": _digest(folder / CHECKPOINT),
        "features": str(record.features.resolve()),
        "seconds": round(record.seconds, 3),
        "versions": record.versions,
        "pairs": {
            "train": _names(record.train),
            "validation": _names(record.validation),
            "test": _names(record.test),
        },
        **_agreed(record.agreement),
    }
    write_json(folder / RECORD, content)


def read_run_record(folder: Path) -> RunRecord | None:
    """Read a run's record; None where there is none, or it is of an earlier checkpoint.

    Raises
    ------
    InputError
        It is damaged.
    """
    content = _read(folder / RECORD)
    if content is None or content.get("checkpoint") != _digest(folder / CHECKPOINT):
        return None
    try:
        pairs = content["pairs"]
        return RunRecord(
            features=Path(content["features"]),
            train=_pairs(pairs["train"]),
            validation=_pairs(pairs["validation"]),
            test=_pairs(pairs["test"]),
            seconds=float(content["seconds"]),
            versions={str(name): str(value) for name, value in content["versions"].items()},
            agreement=_agreement(content),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder / RECORD) from error


def write_folds(folder: Path, record: FoldsRecord) -> None:
    """Write the folds of an evaluation into its folder."""
    content = {
        "format": RECORD_FORMAT,
        "known": record.known,
        "groups": record.groups,
        "tasks": record.tasks,
        "folds": [
            {"name": each.name, "train": _names(each.train), "test": _names(each.test)}
            for each in record.splits
        ],
        **_agreed(record.agreement),
    }
    write_json(folder / FOLDS, content)


def read_folds(folder: Path) -> FoldsRecord | None:
    """Read an evaluation's folds; None where there are none.

    Raises
    ------
    InputError
        The file is damaged.
    """
    content = _read(folder / FOLDS)
    if content is None:
        return None
    try:
        groups = content["groups"]
        return FoldsRecord(
            splits=tuple(
                Split(_pairs(each["train"]), _pairs(each["test"]), str(each["name"]))
                for each in content["folds"]
            ),
            groups={str(name): str(value) for name, value in groups.items()} if groups else None,
            known=content["known"],
            agreement=_agreement(content),
            tasks={str(name): str(task) for name, task in content.get("tasks", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(folder / FOLDS) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises
    ------
    InputError
        It is missing, unreadable, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found a {type(content).__name__}")
    return content


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content = read_json(path)
    if content.get("format") != RECORD_FORMAT:
        raise InputError(f"{path}: not of this version (format {RECORD_FORMAT})")
    return content


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: damaged; delete it, and the page is written without it")


def _agreed(agreement: Agreement | None) -> dict[str, Any]:
    return {} if agreement is None else {"agreement": agreement.as_dict()}


def _agreement(content: Mapping[str, Any]) -> Agreement | None:
    return Agreement.from_dict(content["agreement"]) if "agreement" in content else None


def _names(pairs: Sequence[Pair]) -> list[list[str]]:
    return [[pair.better, pair.worse] for pair in pairs]


def _pairs(listed: Any) -> list[Pair]:
    pairs = [Pair(better, worse) for better, worse in listed]
    if not all(isinstance(name, str) for pair in pairs for name in (pair.better, pair.worse)):
        raise ValueError("a pair is two names")
    return pairs

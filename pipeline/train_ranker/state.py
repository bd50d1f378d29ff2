"""The state of an unfinished training, from which `--resume` goes on."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from data.errors import InputError
from model.ranker.training import FitState
from pipeline.runner.files import write_bytes
from pipeline.runs.folder import FORMAT, STATE


def save_state(folder: Path, state: FitState, fingerprint: str) -> None:
    """Write all that `--resume` needs, whole or not at all."""
    buffer = io.BytesIO()
    values = {each.name: _plain(getattr(state, each.name)) for each in fields(state)}
    torch.save({"format": FORMAT, "fingerprint": fingerprint, **values}, buffer)
    write_bytes(folder / STATE, buffer.getvalue())


def _plain(value: Any) -> Any:
    """Return the same content in fresh containers, its equal strings one object.

    Pickle writes an object that it meets again as a reference, so that equal states would give
    different bytes where one of them was read from a file.
    """
    if isinstance(value, Mapping):
        return {_plain(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(each) for each in value)
    if isinstance(value, str):
        return sys.intern(value)
    return value


def load_state(folder: Path, fingerprint: str) -> FitState | None:
    """Read the state to go on from; None where none was saved.

    Raises
    ------
    InputError
        It is damaged, or belongs to other features, pairs or options.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        if values.pop("format") != FORMAT:
            raise InputError(f"{path}: of another version; start anew with --overwrite")
        found = values.pop("fingerprint")
        state = FitState(**values)
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: damaged; start anew with --overwrite") from error
    if found != fingerprint:
        raise InputError(
            f"{path}: belongs to a run with other features, pairs, seed or options; give those, "
            "or start anew with --overwrite or another --output"
        )
    return state

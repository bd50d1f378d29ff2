"""The state of an unfinished training, kept in a file, from which the training can go on."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from data.errors import InputError
from pipeline.runner.files import write_bytes
from pipeline.runs.folder import FORMAT

State = TypeVar("State", bound=Any)


class StateFile(Generic[State]):
    """The state of an unfinished training, from which the same training goes on.

    Parameters
    ----------
    path : Path
    kind : type
        Dataclass of the states.
    fingerprint : str
        Digest of all that decides the outcome; a state of another fingerprint is refused.
    interval : float
        Least number of seconds between two writes of `save`.
    """

    def __init__(self, path: Path, kind: type[State], fingerprint: str, interval: float) -> None:
        self.path = path
        self._kind = kind
        self._fingerprint = fingerprint
        self._interval = interval
        self._written = time.monotonic()

    def load(self) -> State | None:
        """Read the state; None where none was saved.

        Raises
        ------
        InputError
            It is damaged, or belongs to other features, pairs or options.
        """
        if not self.path.is_file():
            return None
        try:
            values = torch.load(self.path, map_location="cpu", weights_only=True)
            if values.pop("format", FORMAT) != FORMAT:
                raise ValueError("of another version")
            fingerprint = values.pop("fingerprint")
            state = self._kind(**values)
        except Exception as error:  # A damaged pickle can fail in any way.
            raise InputError(f"{self.path}: damaged ({type(error).__name__})") from error
        if fingerprint != self._fingerprint:
            raise InputError(
                f"{self.path}: belongs to a training with other features, pairs, seed or options"
            )
        return state

    def save(self, state: State) -> None:
        """Write a state, unless one was written a moment ago."""
        if time.monotonic() - self._written >= self._interval:
            self.write(state)

    def write(self, state: State) -> None:
        """Write a state, whole or not at all."""
        buffer = io.BytesIO()
        values = {each.name: _plain(getattr(state, each.name)) for each in fields(state)}
        torch.save({"format": FORMAT, "fingerprint": self._fingerprint, **values}, buffer)
        write_bytes(self.path, buffer.getvalue())
        self._written = time.monotonic()


def _plain(value: Any) -> Any:
    """Return the same content in fresh containers, its equal strings one object.

    Pickle writes an object that it meets again as a reference: equal states would give different
    bytes where one of them was read from a file.
    """
    if isinstance(value, Mapping):
        return {_plain(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(each) for each in value)
    if isinstance(value, str):
        return sys.intern(value)
    return value

"""The state of an unfinished fit-fusion, kept beside its output so that it can go on."""

from __future__ import annotations

import hashlib
import time
from dataclasses import fields
from pathlib import Path

import torch

from data.cache.header import canonical_json
from model.ranker.joint import JointState
from pipeline.runner.files import published
from pipeline.shell.console import log

SUFFIX = ".unfinished"
# Seconds between writes; a state is a few times the size of the checkpoint.
INTERVAL = 60.0


class Progress:
    """Writes states now and then, and finds the last one again.

    Parameters
    ----------
    output : path
        The checkpoint to come; the state lies at `<output>.unfinished`.
    identity : dict
        All that the fit depends on; a state of another fit is not gone on with.
    interval : float
        Seconds between writes at least.
    """

    def __init__(
        self, output: Path, identity: dict[str, object], interval: float = INTERVAL
    ) -> None:
        self.path = output.with_name(output.name + SUFFIX)
        self._fingerprint = hashlib.sha256(canonical_json(identity).encode()).hexdigest()
        self._interval = interval
        self._written = time.monotonic()

    def find(self) -> JointState | None:
        """Return the state of this same fit, if there is one; another fit's is left out."""
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            if content.pop("fingerprint") == self._fingerprint:
                return JointState(**content)
        except Exception as error:  # A damaged pickle can fail in any way.
            log.warning("%s: cannot be read (%s); starting anew", self.path, type(error).__name__)
            return None
        log.info("%s is of a fit with other options or data; starting anew", self.path)
        return None

    def save(self, state: JointState) -> None:
        """Write a state, whole or not at all, unless one was written a moment ago."""
        if time.monotonic() - self._written < self._interval:
            return
        content = {entry.name: getattr(state, entry.name) for entry in fields(state)}
        with published(self.path) as temporary:
            torch.save(content | {"fingerprint": self._fingerprint}, temporary)
        self._written = time.monotonic()

    def remove(self) -> None:
        """Delete the state: the fit is finished."""
        self.path.unlink(missing_ok=True)

"""Devices that networks run on, and the threads that torch uses."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from data.errors import InputError
from model.gpu import why_unusable
from pipeline.shell.console import log


def parse_devices(text: str) -> list[str]:
    """Read `--device`: auto, cpu, cuda, cuda:1, or several with commas.

    Raises
    ------
    InputError
        The device does not exist.
    """
    import torch

    if text == "auto":
        return [_automatic()]
    devices = [part.strip() for part in text.split(",")]
    for index, name in enumerate(devices):
        if name == "cuda":
            devices[index] = name = "cuda:0"
        kind, colon, number = name.partition(":")
        if kind not in ("cpu", "cuda") or (colon and not number.isdecimal()):
            raise InputError(f"--device {name}: expected auto, cpu, cuda:N, or several with commas")
        if kind == "cuda" and int(number) >= torch.cuda.device_count():
            raise InputError(
                f"--device {name}: this machine shows {torch.cuda.device_count()} CUDA devices to "
                "PyTorch"
            )
        if kind == "cuda" and (reason := why_unusable(int(number))):
            raise InputError(f"--device {name}: {reason}, or use --device cpu")
    return devices


@functools.cache  # The reason is said once.
def _automatic() -> str:
    """Return the first GPU where PyTorch can compute on it, else the CPU."""
    import torch

    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    reason = why_unusable(0) if available else None
    if not available and notes:  # A GPU without a driver that fits, for instance.
        reason = str(notes[0].message).partition("\n")[0]
    if reason is not None:
        log.warning("networks run on the CPU: %s", reason)
    return "cuda:0" if available and reason is None else "cpu"


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads inside the block; None leaves the number unchanged."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)

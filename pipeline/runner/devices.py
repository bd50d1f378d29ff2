"""Devices that networks run on, and the threads that torch uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from data.errors import InputError


def parse_devices(text: str) -> list[str]:
    """Read `--device`: auto, cpu, cuda, cuda:1, or several with commas.

    Raises
    ------
    InputError
        The device does not exist.
    """
    import torch

    if text == "auto":
        return ["cuda:0" if torch.cuda.is_available() else "cpu"]
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
    return devices


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

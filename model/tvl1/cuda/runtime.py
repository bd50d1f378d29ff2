"""Tell whether the CUDA engine can run here, and why not."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@functools.cache
def available() -> tuple[bool, str]:
    """Return whether the CUDA engine can run, and the reason in one line if not.

    It needs an NVIDIA GPU that PyTorch can use and Triton, which PyTorch's CUDA builds bring.
    Under Triton's interpreter (``TRITON_INTERPRET=1``) it runs on the CPU, for tests.
    """
    try:
        import torch
    except ImportError:
        return False, "PyTorch is not installed"
    try:
        import triton
        import triton.language as tl
    except ImportError as error:
        return False, f"Triton cannot be imported ({error}); pip install triton"
    if not hasattr(tl, "gather") or not hasattr(tl, "tuple"):
        return False, f"Triton {triton.__version__} is too old; pip install 'triton>=3.3'"
    if interpreted():
        return True, "under Triton's interpreter, on the CPU"
    if not torch.cuda.is_available():
        return False, "PyTorch sees no CUDA device"
    if torch.version.hip is not None:
        return False, "PyTorch is built for AMD devices, whose warps have 64 lanes"
    if torch.cuda.get_device_capability() < (7, 0):
        name = torch.cuda.get_device_name()
        return False, f"Triton does not support {name}, older than compute capability 7.0"
    return _starts(triton)


def _starts(triton: Any) -> tuple[bool, str]:
    """Start Triton's driver; before version 3.7 or so it builds a module with a C compiler."""
    try:
        triton.runtime.driver.active.get_current_target()
    except Exception as error:  # Compiler, headers, driver: each fails in its own way.
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        return False, f"Triton cannot start ({cause}); it may need gcc and Python's headers"
    return True, ""


def interpreted() -> bool:
    """Tell whether Triton's interpreter is asked for, as Triton does."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def usable_device(device: str | torch.device) -> torch.device:
    """Check that the engine runs on a device, and return the device with its number.

    Raises
    ------
    ValueError
        If it does not; the message is one line.
    """
    import torch

    runs, reason = available()
    if not runs:
        raise ValueError(f"TV-L1 engine cuda: {reason}; use engine numba or opencv")
    found = torch.device(device)
    if found.type == "cpu" and interpreted():
        return found
    if found.type != "cuda":
        raise ValueError(f"TV-L1 engine cuda: expected a CUDA device, got {found}")
    if interpreted():
        raise ValueError("TV-L1 engine cuda: TRITON_INTERPRET is set; unset it to use the GPU")
    if found.index is None:
        found = torch.device("cuda", torch.cuda.current_device())
    return found

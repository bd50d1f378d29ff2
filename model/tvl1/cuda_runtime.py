"""Tell whether the CUDA engine can run here, and why not."""

from __future__ import annotations

import functools
import os
from typing import Any


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

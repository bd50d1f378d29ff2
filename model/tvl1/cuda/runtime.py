"""What the machine offers the CUDA engine: can it run, on which device, how many pairs fit."""

from __future__ import annotations

import functools
import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from model.gpu import why_unusable
from model.tvl1.cuda.layout import memory_bytes
from model.tvl1.options import TVL1Options

if TYPE_CHECKING:
    import torch

# Pairs beyond which a batch gains nothing: so many for each multiprocessor. More would also
# make one launch take seconds on a small device, which drivers of displays do not allow.
_PAIRS_A_MULTIPROCESSOR = 4
# Share of the free memory that a batch may take; the trunks share the device.
_MEMORY_SHARE = 0.4


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
    if (reason := why_unusable(torch.cuda.current_device())) is not None:
        return False, reason
    return _starts(triton)


def _starts(triton: Any) -> tuple[bool, str]:
    """Start Triton's driver; before version 3.7 or so it builds a module with a C compiler."""
    find_cache()
    try:
        triton.runtime.driver.active.get_current_target()
    except Exception as error:  # Compiler, headers, driver: each fails in its own way.
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        return False, f"Triton cannot start ({cause}); it may need gcc and Python's headers"
    return True, ""


def find_cache() -> None:
    """Give Triton a temporary folder for its kernels where the one in the home cannot be written.

    Homes are read-only in some containers and on some clusters; Triton then compiles nothing. A
    folder that TRITON_CACHE_DIR names is left as it is.
    """
    if os.environ.get("TRITON_CACHE_DIR"):
        return
    home = os.environ.get("TRITON_HOME") or os.path.expanduser("~")
    folder = os.path.join(home, ".triton", "cache")
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError:
        with suppress(OSError):  # Triton will say what is wrong.
            # A fixed name could belong to another user, with kernels of theirs in it.
            os.environ["TRITON_CACHE_DIR"] = tempfile.mkdtemp(prefix="triton-")


def interpreted() -> bool:
    """Return whether Triton's interpreter is on, by Triton's own rule."""
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
    target = torch.device(device)
    if target.type == "cpu" and interpreted():
        return target
    if target.type != "cuda":
        raise ValueError(f"TV-L1 engine cuda: expected a CUDA device, got {target}")
    if interpreted():
        raise ValueError("TV-L1 engine cuda: TRITON_INTERPRET is set; unset it to use the GPU")
    if target.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return target


def fit_batch(
    height: int,
    width: int,
    options: TVL1Options | None = None,
    device: str | torch.device = "cuda",
    share: float = _MEMORY_SHARE,
) -> int:
    """Return how many pairs fit a share of the device's free memory, two batches under way.

    Raises
    ------
    ValueError
        If not even one pair fits.
    """
    import torch

    target = usable_device(device)
    if target.type != "cuda":
        return _PAIRS_A_MULTIPROCESSOR
    free = torch.cuda.mem_get_info(target)[0]
    free += torch.cuda.memory_reserved(target) - torch.cuda.memory_allocated(target)
    one = memory_bytes(height, width, options, 1)
    fitting = int(share * free) // (2 * one)
    if fitting < 1:
        raise ValueError(
            f"{target}: {free >> 20} MiB free, but TV-L1 at {width}x{height} needs"
            f" {2 * one >> 20} MiB within {share:.0%} of it; use a smaller flow size"
        )
    places = torch.cuda.get_device_properties(target).multi_processor_count
    return min(fitting, _PAIRS_A_MULTIPROCESSOR * places)

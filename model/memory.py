"""Out of memory, from whichever library: one test for it."""

from __future__ import annotations

import torch


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error is lack of memory, on a device or on the host."""
    message = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in message
        or "[CUDA]: out of memory" in message  # Triton's.
    )

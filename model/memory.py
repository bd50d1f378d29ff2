"""Lack of memory told from other failures, whichever library meets it."""

from __future__ import annotations

import torch


def is_out_of_memory(error: Exception) -> bool:
    """Tell lack of memory, of a device or of the host, from other failures."""
    told = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in told
        or "[CUDA]: out of memory" in told  # Triton's.
    )

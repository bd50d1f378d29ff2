"""Numba's decorator with a cache on disk that may be missing, full or damaged."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba import njit


def cached(**options: Any) -> Callable:
    """Return numba's decorator, caching on disk where any folder for that can be written.

    Numba uses NUMBA_CACHE_DIR if set, else __pycache__ next to the source, else the user's
    cache folder; workers may fill it at the same time. Without any, each process compiles.
    """

    def decorate(function: Callable) -> Callable:
        try:
            dispatcher = njit(cache=True, **options)(function)
        except (RuntimeError, OSError):
            return njit(**options)(function)
        _tolerate(dispatcher._cache)
        return dispatcher

    return decorate


def _tolerate(cache: Any) -> None:
    """Let a cache whose files cannot be read or written behave as an empty one.

    A machine that crashed leaves empty or cut files behind, on which numba ends with EOFError or
    errors of pickle; a full disk refuses new ones.
    """
    load, save = cache.load_overload, cache.save_overload

    def load_overload(*args: Any) -> Any:
        try:
            return load(*args)
        except Exception:  # Damage has no type of its own.
            with suppress(OSError):
                cache.flush()  # An empty index, so that the next save rebuilds it.
            return None

    def save_overload(*args: Any) -> None:
        with suppress(OSError):
            save(*args)

    cache.load_overload, cache.save_overload = load_overload, save_overload

"""Errors a user can cause: the message is the one line that the command line prints."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message says what was expected, what is in which file instead, and what to do.
    """


class VideoError(InputError):
    """One video cannot be used; the others go on."""


class CacheError(InputError):
    """A cache file is damaged, incomplete, or of another kind or schema."""


class StaleCacheError(CacheError):
    """A cache was made from other input, options or weights than those asked for."""

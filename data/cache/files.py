"""Until its last importers name `data.files`, the old place of these functions."""

from data.files import _sync_file as sync
from data.files import sweep, temporary_name

__all__ = ["sweep", "sync", "temporary_name"]

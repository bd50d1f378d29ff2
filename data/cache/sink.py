"""The file below a cache that is being written: HDF5 itself never meets a failed write.

HDF5 may crash the process, or raise errors of its own that say nothing, when a write fails in the
middle or when a file is closed after that. Here the first failure is kept for the writer, and what
HDF5 writes afterwards is thrown away: the file is lost anyway.
"""

from __future__ import annotations

import io
from pathlib import Path

import h5py


class _Sink(io.FileIO):
    """Unbuffered file that remembers its first failed write instead of raising it."""

    failure: OSError | None = None

    def write(self, content: memoryview, /) -> int:  # type: ignore[override]
        left = memoryview(content)
        try:
            while len(left) and self.failure is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.failure = error
        return len(content)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size) if self.failure is None else 0
        except OSError as error:
            self.failure = error
            return 0


class NewFile(h5py.File):
    """An HDF5 file that is written; `check` raises the OSError of the first write that failed."""

    def __init__(self, path: Path) -> None:
        self._sink = _Sink(path, "x+")
        super().__init__(self._sink, "w")

    def check(self) -> None:
        """Raise the OSError that ended the writing, if any."""
        if self._sink.failure is not None:
            raise self._sink.failure

    def close(self) -> None:
        """Close the file and the one below; raise as `check` does."""
        try:
            super().close()
        finally:
            self._sink.close()
            self.check()  # Before the errors that a lost write leads to in HDF5.

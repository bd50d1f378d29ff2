"""Triton's compiled kernels have a place wherever the program runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from model.tvl1.cuda.runtime import find_cache

NOWHERE = "/dev/null/no-such-folder"  # Cannot be created, not even by root.


@pytest.mark.skipif(os.name == "nt", reason="such a path can be created there")
@pytest.mark.parametrize("name", ["HOME", "TRITON_HOME"])
def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The CUDA engine could not compile, and flow was computed on the CPU, or failed."""
    cache = pytest.importorskip("triton.runtime.cache")
    for other in ("TRITON_CACHE_DIR", "TRITON_HOME"):
        monkeypatch.setenv(other, "")
        monkeypatch.delenv(other)
    monkeypatch.setenv(name, NOWHERE)
    find_cache()
    folder = os.environ["TRITON_CACHE_DIR"]
    try:
        manager = cache.get_cache_manager("0" * 64)
        written = Path(manager.put(b"kernel", "kernel.bin", binary=True))
        assert written.is_relative_to(folder)
        assert written.read_bytes() == b"kernel"
    finally:
        shutil.rmtree(folder)


def test_a_writable_home_and_a_named_folder_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Kernels would be compiled anew by every process."""
    monkeypatch.setenv("TRITON_HOME", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", "")
    find_cache()
    assert not os.environ["TRITON_CACHE_DIR"]
    assert (tmp_path / ".triton" / "cache").is_dir()
    monkeypatch.setenv("TRITON_CACHE_DIR", NOWHERE)
    find_cache()
    assert os.environ["TRITON_CACHE_DIR"] == NOWHERE

"""The numba engine is compiled once a machine, wherever there is a folder to keep it in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

NOWHERE = "/dev/null/no-such-folder"  # Cannot be created, not even by root.

# Calls the entry point that compiles fastest; says where it is kept and whether it existed.
CODE = """
import json
import numpy as np
from model.tvl1.cpu import solver
work = np.full(solver.workspace_length(5, 6), 7, np.float32)
solver.prepare(work, np.ones((5, 6), np.float32), 5, 6)
stats = solver.prepare.stats
print(json.dumps({"path": stats.cache_path, "hits": sum(stats.cache_hits.values()),
                  "misses": sum(stats.cache_misses.values()), "zeroed": int((work == 0).sum())}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a copy of the package in which no cache can be written.

    A file named __pycache__ keeps root out, too, whom read-only folders do not stop.
    """
    root = tmp_path_factory.mktemp("installed")
    (root / "model").mkdir()
    (root / "model" / "__init__.py").touch()
    ignored = shutil.ignore_patterns("__pycache__", "cuda")
    shutil.copytree(ROOT / "model" / "tvl1", root / "model" / "tvl1", ignore=ignored)
    (root / "model" / "tvl1" / "cpu" / "__pycache__").touch()
    return root


def run(package: Path, **variables: str) -> dict:
    """Compile or load the entry point in a new process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_CACHE")}
    environment = kept | {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(
        command, check=True, env=environment, cwd=package, capture_output=True, text=True
    )
    assert "Warning" not in done.stderr
    return json.loads(done.stdout)


def test_without_any_folder_it_is_compiled_in_each_process(package: Path) -> None:
    """Breaks if an installation that cannot be written to, without a home, cannot run at all."""
    places = {"HOME": NOWHERE, "XDG_CACHE_HOME": NOWHERE, "NUMBA_CACHE_DIR": NOWHERE}
    result = run(package, **places)
    assert result["path"] is None
    assert result["zeroed"] > 0


def test_users_folder_is_used_where_the_package_is_read_only(package: Path, tmp_path: Path) -> None:
    """Breaks if each worker of a system-wide installation compiles again."""
    places = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    first = run(package, **places)
    assert Path(first["path"]).is_relative_to(tmp_path)
    assert (first["hits"], first["misses"]) == (0, 1)
    second = run(package, **places)
    assert (second["hits"], second["misses"]) == (1, 0)


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_damaged_files_are_rebuilt(package: Path, tmp_path: Path, kind: str, keep: float) -> None:
    """Breaks if an empty or cut file, as a crash leaves it, ends every later run (EOFError)."""
    places = {"NUMBA_CACHE_DIR": str(tmp_path)}
    run(package, **places)
    (path,) = tmp_path.rglob(kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    assert run(package, **places)["zeroed"] > 0
    assert run(package, **places)["hits"] == 1


def test_a_full_disk_below_the_cache_stops_nothing(package: Path, tmp_path: Path) -> None:
    """Breaks if a run ends because there is no room for compiled code."""
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, "-c", CODE],
        check=False,
        env=os.environ
        | {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
        | {"NUMBA_CACHE_DIR": str(tmp_path)},
        cwd=package,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["zeroed"] > 0


def test_a_changed_source_is_compiled_anew(package: Path, tmp_path: Path) -> None:
    """Breaks if numba, which looks at one file alone, runs code from before an update."""
    root = tmp_path / "updated"
    shutil.copytree(package, root)
    places = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    assert run(root, **places)["misses"] == 1
    with (root / "model" / "tvl1" / "cpu" / "kernels.py").open("a") as source:
        source.write("# changed\n")
    assert run(root, **places)["misses"] == 1

"""Commands that cannot write their output: one line, exit code 2, nothing half under its name."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.files import temporary_name
from pipeline.cli import cli
from tests.evaluate.material import VIDEOS, write_features
from tests.helpers.shims import LITTLE_ROOM, compiled, run

SMALL = ("--segments", "4", "--hidden-size", "8", "--epochs", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make caches of features, pairs, and a finished run."""
    folder = tmp_path_factory.mktemp("outputs")
    write_features(folder / "features")
    (folder / "features" / "stage_one.safetensors").write_bytes(bytes(30_000))
    rows = [f"v{a:02},v{b:02}" for a in range(VIDEOS) for b in range(a + 1, VIDEOS)]
    (folder / "pairs.csv").write_text("\n".join(["better,worse", *rows]) + "\n")
    assert run(*command("train-ranker", folder), "-o", folder / "run").returncode == 0
    (folder / "file").touch()
    return folder


def command(name: str, place: Path) -> tuple[object, ...]:
    given = ("--features", place / "features", "--pairs", place / "pairs.csv", *SMALL)
    return {
        "train-ranker": ("train-ranker", *given),
        "evaluate": ("evaluate", *given, "-j", "1", "--seeds", "1", "--folds", "3"),
        "report": ("report", place / "run"),
    }[name]


def one_line(stderr: str) -> str:
    assert "Traceback" not in stderr
    assert "unexpected" not in stderr
    lines = [line for line in stderr.splitlines() if "error: " in line]
    assert lines, stderr
    return lines[-1]


@pytest.mark.parametrize("name", ["train-ranker", "evaluate", "report"])
@pytest.mark.parametrize("output", ["file/x", "x" * 300], ids=["file", "long"])
def test_a_place_that_cannot_be_written_is_one_line(place: Path, name: str, output: str) -> None:
    """A file in the way, or a name that is too long, ends as "unexpected OSError"."""
    done = run(*command(name, place), "-o", place / output)
    assert done.returncode == 2, done.stderr
    reason = "a file stands where" if output == "file/x" else "the name or the path is too long"
    assert reason in one_line(done.stderr)


@pytest.mark.parametrize("allowed", [0, 6000])
@pytest.mark.parametrize("name", ["train-ranker", "evaluate", "report"])
def test_a_full_disk_leaves_nothing_half(
    place: Path, tmp_path: Path, name: str, allowed: int
) -> None:
    """A full disk ends as "unexpected OSError", with half a stage_one.safetensors in the run."""
    room = {"WRITE_ERROR": str(errno.ENOSPC), "ALLOWED": str(allowed)}
    output = tmp_path / "output"
    done = run(*command(name, place), "-o", output, **room, **compiled(LITTLE_ROOM, tmp_path))
    # A run of `evaluate` that fails is one of several: it is listed.
    assert done.returncode in ((1, 2) if name == "evaluate" else (2,)), done.stderr
    assert "the disk is full" in one_line(done.stderr)
    for path in [output, *output.rglob("*")]:
        assert ".dexterank-" not in path.name
        assert path.name != "stage_one.safetensors" or path.stat().st_size == 30_000


@pytest.mark.parametrize("name", ["train-ranker", "evaluate", "report"])
def test_the_next_run_removes_what_a_killed_one_left(
    place: Path, tmp_path: Path, name: str
) -> None:
    """Temporaries of killed processes pile up next to the results."""
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    output = tmp_path / "output" / "report.html" if name == "report" else tmp_path / "output"
    left = [output.parent if name == "report" else output]
    left += [output / "runs"] if name == "evaluate" else []
    for folder in left:
        folder.mkdir(parents=True)
        temporary = temporary_name().replace(f"-{os.getpid()}-", f"-{killed.pid}-")
        (folder / temporary).write_bytes(bytes(9))
    result = CliRunner().invoke(cli, [*map(str, command(name, place)), "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert not list(tmp_path.rglob(".dexterank-*"))

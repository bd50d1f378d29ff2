"""The command line as a user meets it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.errors import InputError
from pipeline.cli import COMMANDS, cli
from pipeline.shell import console
from tests.helpers.places import ROOT

HEAVY = ("torch", "cv2", "h5py", "numba", "joblib", "matplotlib", "scipy", "PIL", "av", "numpy")


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *args], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_no_heavy_library(command: str) -> None:
    """Help that takes seconds because a network library loads is not used."""
    code = (
        "import sys; from click.testing import CliRunner; from pipeline.cli import cli;"
        f"result = CliRunner().invoke(cli, {[*command.split(), '--help']!r});"
        f"print(result.output, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("Usage:"), done.stderr
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str) -> None:
    """A command whose help shows no example makes the user guess."""
    output = CliRunner().invoke(cli, [command, "--help"]).output
    assert f"pipeline {command} " in output.split("Usage:")[1].split("\n", 1)[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_its_configuration(command: str) -> None:
    """--print-config must work before the user knows which arguments are needed."""
    result = CliRunner().invoke(cli, [command, "--print-config"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"[{command}]")


def test_nothing_is_printed_after_the_end() -> None:
    """Libraries that find objects left at exit bury the result under a page about leaks."""
    code = "import numba, torch._dynamo; from pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_misspelt_command_is_a_usage_error() -> None:
    """Exit code 2 tells a script that nothing was done."""
    done = run("extract-flwo")
    assert done.returncode == 2
    assert "No such command" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (InputError("expected a folder, found nothing"), 2, "error: expected a folder"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("boom"), 1, "--debug"),
        (OSError(28, "x", "run/record.json"), 2, "error: run/record.json: the disk is full"),
        (MemoryError(), 2, "error: out of memory"),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException, code: int, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback instead of one line, or exit code 0 after an error, would mislead."""

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("click.Group.main", fail)
    console.configure()
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == code
    assert shown in result.stderr
    assert "Traceback" not in result.stderr


def test_an_empty_file_is_not_taken_for_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Click takes EOFError, which empty files raise, for Ctrl-C: "interrupted", exit code 130."""

    def fail(*args: object, **kwargs: object) -> None:
        raise EOFError("Ran out of input")

    monkeypatch.setattr("click.Command.invoke", fail)
    monkeypatch.setattr("click.Group.invoke", fail)
    result = CliRunner().invoke(cli, ["demo", "-o", "x"])
    assert result.exit_code == 1
    assert "Ran out of input" in result.stderr
    assert "interrupted" not in result.stderr


def test_start_up_is_quick() -> None:
    """The whole process must answer --help in well under a second even on a busy machine."""
    start = time.perf_counter()
    done = run("--help")
    assert done.returncode == 0
    # The target is 0.5 s; ten times that only catches a heavy import, not a busy machine.
    assert time.perf_counter() - start < 5


def test_config_path_must_exist(tmp_path: Path) -> None:
    """A mistyped configuration file must not silently mean the defaults."""
    result = CliRunner().invoke(cli, ["demo", "--config", str(tmp_path / "none.toml")])
    assert result.exit_code == 2


def test_only_slow_steps_are_logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling for a quarter of a minute looks like a hang, or every run speaks of it."""
    console.configure()
    monkeypatch.setattr(console, "_SLOW_S", 0.05)
    with console.log_if_slow("at once"):
        pass
    with console.log_if_slow("compiling"):
        time.sleep(0.5)
    time.sleep(0.1)
    assert capsys.readouterr().err == "compiling\n"


def test_opencv_without_its_system_library_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slim image lacks libGL, and the first command ends as "unexpected ImportError"."""
    words = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({words!r})")
    (tmp_path / "a.mp4").write_bytes(b"x")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "extract-flow", "a.mp4", "-o", "flow"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: OpenCV cannot be loaded (libGL.so.1")
    assert "opencv-contrib-python-headless" in line
    assert "Traceback" not in done.stderr

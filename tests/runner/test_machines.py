"""Machines that lack something: shared memory, streams, parts of OpenCV, a GPU of this decade."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data.errors import InputError
from model import gpu
from pipeline.runner import devices
from pipeline.runner.jobs import JobOptions, run_jobs
from pipeline.shell import console
from tests.helpers.places import ROOT
from tests.helpers.shims import run
from tests.helpers.small_video import write_video

FAST = ("--engine", "opencv", "--short-side", "32", "--device", "cpu", "-j", "1")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    write_video(folder / "a.avi", 4)
    write_video(folder / "ž😀.avi", 4)
    return folder


# A7: GPUs


def pretend(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], built: list[str]) -> None:
    """Let PyTorch report one GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Tesla V100")


@pytest.mark.parametrize(
    ("capability", "built", "usable"),
    [
        ((7, 0), ["sm_75", "sm_80", "sm_90", "compute_120"], False),
        ((8, 9), ["sm_75", "sm_80", "sm_90"], True),  # compiled code of its generation
        ((9, 0), ["sm_75", "sm_80", "compute_80"], True),  # source code of an earlier one
        ((12, 0), ["sm_75", "sm_80", "sm_90"], False),  # too new
        ((9, 0), [], True),  # a build that does not say
        ((9, 0), ["gfx90a"], True),  # AMD's
        ((9, 0), ["sm_80", "sm_90a"], True),
    ],
)
def test_a_gpu_that_pytorch_is_not_built_for_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], built: list[str], usable: bool
) -> None:
    """It is listed as available, and the first operation on it ends the run."""
    pretend(monkeypatch, capability, built)
    assert (gpu.why_unusable(0) is None) == usable


def test_an_old_gpu_is_left_out_and_the_reason_given_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--device auto` takes a GPU that cannot run anything, or leaves it out without a word."""
    pretend(monkeypatch, (7, 0), ["sm_75", "sm_80"])
    console.configure()
    devices._automatic.cache_clear()
    try:
        assert devices.parse_devices("auto") == devices.parse_devices("auto") == ["cpu"]
    finally:
        devices._automatic.cache_clear()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "warning: networks run on the CPU: Tesla V100 has compute capability 7.0"
    )
    with pytest.raises(InputError, match=r"--device cuda:0: .* built for 7\.5 and later"):
        devices.parse_devices("cuda")


# A4: shared memory


def double(value: int) -> int:
    return 2 * value


def test_without_shared_memory_the_work_is_done_in_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container with a small /dev/shm no pool starts: a traceback, or a wait without end."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multiprocessing.Semaphore", refuse)
    console.configure()
    outcome = run_jobs(double, [1, 2, 3], JobOptions(jobs=2), desc="test")
    assert outcome.results == [(1, 2), (2, 4), (3, 6)]
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert "worker processes cannot be started (/dev/shm: the disk is full)" in line


@pytest.mark.parametrize("size", ["4k", "16k", "32k", "1m"])
def test_a_small_shared_memory_is_enough(tmp_path: Path, size: str) -> None:
    """The same with a real /dev/shm of few KB (skipped where none can be mounted)."""
    mount = f"mount -t tmpfs -o size={size} none /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    (tmp_path / "start.py").write_text(SCRIPT)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", sys.executable, "start.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "[0, 1, 8, 27]\n", done.stderr
    assert "Traceback" not in done.stderr


# A14: scripts. Without the guard on purpose.
SCRIPT = """
from pipeline.runner.jobs import JobOptions, run_jobs

def cube(number):
    return number ** 3

outcome = run_jobs(cube, range(4), JobOptions(jobs=2), desc="x")
print([result for _, result in outcome.results])
"""


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    """Worker processes that run the script again die, or start workers of their own."""
    (tmp_path / "start.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "start.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "[0, 1, 8, 27]\n", done.stderr
    assert done.returncode == 0


# A6: OpenCV without its extra modules

WITHOUT_OPTFLOW = """
import builtins, sys
real = builtins.__import__
def load(name, *rest, **more):
    module = real(name, *rest, **more)
    cv2 = sys.modules.get("cv2")
    if cv2 is not None and hasattr(cv2, "optflow"):
        del cv2.optflow
    return module
builtins.__import__ = load
"""


def test_opencv_without_optflow_serves_the_numba_engine(videos: Path, tmp_path: Path) -> None:
    """Another OpenCV package, installed over ours, ends even the numba engine's run."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_OPTFLOW)
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    rest = ("--short-side", "32", "--device", "cpu", "-j", "1")
    done = run("extract-flow", videos / "a.avi", "-o", tmp_path / "flow", *rest, **path)
    assert done.returncode == 0, done.stderr
    done = run("extract-flow", videos, "-o", tmp_path / "flow2", *FAST, **path)
    assert done.returncode == 2
    assert "this OpenCV has no optflow module" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_library_that_cannot_be_loaded_is_one_line(videos: Path, tmp_path: Path) -> None:
    """A library broken by an update ends as "unexpected ImportError"."""
    (tmp_path / "h5py.py").write_text(
        "raise ImportError('libhdf5.so.310: cannot open', name='h5py')"
    )
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = run("extract-flow", videos, "-o", tmp_path / "flow", *FAST, **path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert line.startswith("error: a library cannot be loaded (libhdf5.so.310: cannot open)")


# A11 and A13: streams and locales


@pytest.mark.parametrize(
    ("redirection", "code"),
    [("2>&-", 0), ("2>/dev/full", 0), (">&-", 0), ("<&-", 0), (">/dev/full", 1)],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_streams_that_cannot_be_written_stop_no_work(
    videos: Path, tmp_path: Path, redirection: str, code: int
) -> None:
    """A closed terminal or a full disk below the log ends hours of work."""
    flow = tmp_path / "flow"
    done = run("extract-flow", videos, "-o", flow, *FAST, before=f"exec {redirection};")
    assert done.returncode == code
    assert len(list(flow.glob("*.h5"))) == 2
    assert "unexpected" not in done.stderr
    if code:
        assert "results cannot be written to standard output (the disk is full" in done.stderr


def test_closed_streams_do_not_become_caches() -> None:
    """With stderr closed a cache gets its number, and a library's messages are written into it."""
    code = "import os; from pipeline.cli import _fill_closed_streams as f; os.close(2); f(); " \
        "print(os.readlink('/proc/self/fd/2'))"  # fmt: skip
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "/dev/null\n"


@pytest.mark.parametrize("encoding", ["cp1250", "ascii"])
def test_names_beyond_the_code_page_are_escaped(
    videos: Path, tmp_path: Path, encoding: str
) -> None:
    """An emoji in a name ends the run on a Windows code page."""
    done = run("extract-flow", videos, "-o", tmp_path / "flow", *FAST, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    done = run("inspect", tmp_path / "flow", videos, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr


def test_an_ascii_locale_reads_every_name(videos: Path, tmp_path: Path) -> None:
    """Under LC_ALL=C a sound cache, whose name or whose video's name is not ASCII, is damaged."""
    ascii_ = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    flow = tmp_path / "flow"
    assert run("extract-flow", videos, "-o", flow, *FAST).returncode == 0
    done = run("inspect", "--verify", flow, **ascii_)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run("extract-flow", videos, "-o", flow, *FAST, **ascii_)
    assert "2 videos, 2 of them already done" in done.stdout, done.stderr

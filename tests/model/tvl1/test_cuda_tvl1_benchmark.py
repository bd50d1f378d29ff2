"""The CUDA engine's benchmark: its verdict is strict, and one failure does not cost the rest.

A GPU may be at hand for a single call.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.places import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["gpu.py"])


def draws(px: list[float], within: list[float]) -> np.ndarray:
    return np.stack([px, within], axis=-1)


def test_a_pair_beyond_its_own_noise_fails_though_the_means_pass() -> None:
    """Another pair's noise is no excuse: the gate's last condition is about each pair."""
    from tvl1_cuda_checks import judge

    noise = np.stack([draws([0.001, 0.002], [1.0, 1.0]), draws([0.04, 0.05], [0.97, 0.98])])
    share = np.array([1.0, 0.999])
    good = judge(np.array([0.0015, 0.03]), share, noise, "5.0")
    assert good["passed"]
    assert good["pairs_beyond_every_draw"] == []
    assert good["pairs_beyond_the_median_draw"] == []
    bad = judge(np.array([0.003, 0.03]), share, noise, "5.0")
    assert not bad["passed"]
    assert bad["pairs_beyond_every_draw"] == [0]
    within = judge(np.array([0.001, 0.03]), np.array([0.995, 0.999]), noise, "5.0")
    assert within["pairs_beyond_every_draw"] == [0]


def test_means_beyond_the_gate_fail_though_the_noise_is_as_large() -> None:
    """A path that is chaotic on every pair is outside the gate."""
    from tvl1_cuda_checks import judge

    noise = draws([0.05, 0.06], [0.98, 0.99])[None]
    assert not judge(np.array([0.04]), np.array([0.995]), noise, "5.0")["passed"]
    assert not judge(np.array([0.01]), np.array([0.985]), noise, "5.0")["passed"]


def test_a_section_that_fails_is_told_and_the_next_one_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file holds what was measured before and after, in case the process is killed."""
    from tvl1_cuda_common import Report

    report = Report(tmp_path / "result.json")

    def broken() -> None:
        raise RuntimeError("an illegal memory access was encountered\nmore")

    assert report.section("copy", lambda: 3e12) == 3e12
    assert report.section("whole", broken) is None
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored["copy"] == 3e12
    assert "illegal memory access" in stored["whole"]["failed"]
    assert report.section("gate", lambda: {"passed": True}) == {"passed": True}
    assert json.loads((tmp_path / "result.json").read_text())["gate"] == {"passed": True}
    assert not report.passed
    assert "whole: FAILED: RuntimeError: an illegal memory access" in capsys.readouterr().out


def test_sections_after_the_limit_are_left_out() -> None:
    """A call that is killed for its time would lose what it does last."""
    from tvl1_cuda_common import Report

    report = Report(seconds=-1.0)
    assert report.section("shapes", lambda: {"passed": True}) is None
    assert "left_out" in report.results["shapes"]
    assert report.passed


def test_the_reference_has_the_noise_of_each_pair() -> None:
    """One draw a pair is no yardstick: draws differ by a factor of three."""
    from tvl1_cuda_reference import DEFAULT, DRAWS, SYNTHETIC

    with np.load(DEFAULT) as stored:
        assert stored["noise"].shape == (SYNTHETIC, DRAWS, 2)
        assert stored["flow"].shape == (SYNTHETIC, 2, 64, 85)
        assert (stored["flow"][0] == 0).all()  # Identical frames.


@pytest.mark.slow
def test_the_stages_run_from_video_to_cache(tmp_path: Path) -> None:
    """The one call that a GPU may be at hand for is lost to a benchmark that does not start."""
    pytest.importorskip("triton")
    result = tmp_path / "result.json"
    words = ["--interpret", "--only", "machine", "stages", "--json", str(result)]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), *words], capture_output=True, text=True
    )
    if "the CUDA engine cannot run" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    stages = json.loads(result.read_text())["stages"]
    assert stages["difference"] == 0
    assert [stage["rows"] for stage in stages["stages"].values()] == [4, 4, 4]

"""Flags and folders that users of extract-features combine oddly: reported before any work."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest

from data.cache.folder import cache_path, read_header
from data.errors import InputError
from data.sources import Source, find_sources
from pipeline import cli
from pipeline.extract_features import settings
from pipeline.extract_flow.settings import FlowSettings
from tests.extract_features.material import FLOW, PLAN, QUICK, draw, extract_into, quick_flow
from tests.helpers import odd_videos

FLAGS = [
    *("--segments", 3, "--candidates", 1, "--stack-length", 2, "--device", "cpu", "-j", 1),
    *("--weights", "random", "--input-size", 64, "--training-snippets", 8),
    *("--fusion-hidden", 16, "--fusion-channels", 8, "--engine", "opencv", "--short-side", 32),
    *("--bound", 4, "--scales", 2, "--warps", 1, "--inner", 3, "--outer", 1),
]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.cli.main([str(a) for a in ("extract-features", *arguments)])
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("precision", "devices", "message"),
    [
        ("float16", ["cpu"], "float16 needs a CUDA device"),
        ("bfloat16", ["cuda:0"], "bfloat16 is for CPUs; on CUDA devices use float16"),
        ("bfloat16", ["cpu"], "needs a processor with AVX512_BF16 or AMX"),
    ],
)
def test_arithmetic_that_a_device_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch, precision: str, devices: list[str], message: str
) -> None:
    """PyTorch would imitate it, many times slower, or fail in the middle of a video."""
    monkeypatch.setattr(settings, "has_bfloat16", lambda: False)
    with pytest.raises(InputError, match=message):
        settings.resolve_precision(precision, devices)
    assert settings.nearest_precision(precision, devices) == "float32"


def test_new_videos_take_the_arithmetic_of_training_where_they_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other arithmetic moves maps by some per cent, and scores with them."""
    monkeypatch.setattr(settings, "has_bfloat16", lambda: True)
    for trained, device in (("bfloat16", "cpu"), ("float16", "cuda:0"), ("float32", "cuda:0")):
        assert settings.nearest_precision(trained, [device]) == trained


@pytest.mark.skipif(not settings.has_bfloat16(), reason="no AVX512_BF16, no AMX")
def test_bfloat16_caches_are_their_own(videos: Path, tmp_path: Path) -> None:
    """Maps of two kinds of arithmetic in one folder would differ by video."""
    features = tmp_path / "features"
    assert run(videos, "-o", features, *FLAGS, "--precision", "bfloat16") == 0
    recorded = read_header(cache_path(features, "one.avi")).parameters
    assert recorded["precision"] == "bfloat16"
    assert run(videos, "-o", features, *FLAGS) == 2
    assert run(videos, "-o", features, *FLAGS, "--precision", "bfloat16") == 0


@pytest.mark.parametrize("flag", ["--flow", "--save-flow"])
def test_flow_and_features_need_two_folders(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    """Both caches of a video have one name: the second takes the first one's place."""
    assert run(videos, "-o", tmp_path / "x", flag, tmp_path / "y" / ".." / "x") == 2
    assert f"{flag} {tmp_path}/y/../x: expected another folder than --output" in (
        capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["-o", "--save-flow"])
def test_a_file_in_the_place_of_a_folder_is_told_at_once(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    """Trunks are calibrated, or every video fails, before it is found out."""
    (tmp_path / "x").write_text("a file")
    output = [] if flag == "-o" else ["-o", tmp_path / "features"]
    assert run(videos, flag, tmp_path / "x", *output, *FLAGS) == 2
    assert f"{tmp_path / 'x'}: expected a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_place_that_cannot_be_written_is_told_before_anything_is_fitted(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calibration of random trunks is lost for a folder that was never writable."""
    (tmp_path / "x").write_text("a file")
    assert run(videos, "-o", tmp_path / "x" / "y", *FLAGS) == 2
    told = capsys.readouterr().err
    assert "cannot be written to" in told
    assert "RANDOM TRUNKS" not in told


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--stride", 3], "--stride has no effect on --plan segments"),
        (["--fps", 60], "one.avi: --fps 60 asked, the video has 10: all its frames are taken"),
        (["--rgb-weights", "x.pth"], "--weights has no effect with --rgb-weights"),
        (["--scheduler", "head:8786"], "--scheduler needs --backend dask"),
    ],
)
def test_options_without_effect_are_told(
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[object],
    told: str,
) -> None:
    """A flag does nothing, and nobody says so."""
    run(videos / "one.avi", "-o", tmp_path, *FLAGS, *more)
    assert told in capsys.readouterr().err


def test_options_of_what_is_not_fitted_are_told(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--training-videos beside a file's weights, and sizes beside a checkpoint, do nothing."""
    files = [
        "--rgb-weights",
        "x.pth",
        "--adapt-flow",
        "none",
        "--fusion",
        tmp_path / "y.safetensors",
    ]
    more = ["--training-videos", videos, "--fusion-hidden", 7, "--fusion-channels", 7]
    assert run(videos, "-o", tmp_path / "x", "--device", "cpu", *files, *more) == 2
    told = capsys.readouterr().err
    for flag in ("--training-videos", "--fusion-hidden", "--fusion-channels"):
        assert f"{flag} has no effect with" in told


def test_both_sizes_of_flow_are_refused(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of two contradicting flags wins without a word."""
    assert run(videos, "-o", tmp_path, *FLAGS, "--size", "32x32") == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:", "cpu:", "cuda:x", "gpu"])
def test_misspelt_devices_are_one_clear_line(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    """A number left out ends as an unexpected error."""
    assert run(videos, "-o", tmp_path, "--device", device) == 2
    assert f"--device {device}: expected auto, cpu, cuda:N" in capsys.readouterr().err


def test_headers_say_what_computed_the_flow(
    tmp_path: Path, made: Path, sources: list[Source]
) -> None:
    """A user who finds odd maps asks which engine and OpenCV their flow came from."""
    assert not quick_flow(sources, tmp_path / "flow").failures
    shutil.copytree(made, tmp_path / "x", ignore=shutil.ignore_patterns("*.h5"))
    assert not extract_into(sources, tmp_path / "flow", tmp_path / "x").failures
    versions = read_header(cache_path(tmp_path / "x", "one.avi")).versions
    assert versions["engine"] == "opencv"
    assert {"opencv", "torch"} <= versions.keys()


# --- --strict ---


def messages(folder: Path, flow: Path, output: Path, *, first: bool, strict: bool) -> list[str]:
    """Messages of the videos that failed; `first`: extract-flow runs first."""
    settings = FlowSettings(plan=PLAN, flow=FLOW, tvl1=QUICK, engine="opencv", strict=strict)
    outcome = extract_into(
        find_sources([folder]), flow, output, settings if first else None, strict=strict
    )
    return [message for _, message in outcome.failures]


def test_strict_refuses_earlier_features_of_a_damaged_video(tmp_path: Path) -> None:
    """A second, stricter run counts what the first one only warned of as done."""
    videos, flow, output = (tmp_path / name for name in ("videos", "flow", "x"))
    videos.mkdir()
    odd_videos.truncated(tmp_path, 0.6).rename(videos / "cut.mp4")
    assert messages(videos, flow, output, first=True, strict=False) == []
    for first in (True, False):
        (message,) = messages(videos, flow, output, first=first, strict=True)
        assert "the header claims" in message


def test_strict_lets_remarks_pass(tmp_path: Path) -> None:
    """A folder of frames, which is not damaged, passes extract-flow --strict and fails here."""
    frames = tmp_path / "videos" / "frames"
    frames.mkdir(parents=True)
    for number in range(9):
        cv2.imwrite(str(frames / f"img_{number:05}.png"), draw(0, number))
    flow, output = tmp_path / "flow", tmp_path / "x"
    assert messages(tmp_path / "videos", flow, output, first=True, strict=True) == []
    assert "25 frames a second assumed" in read_header(cache_path(flow, "frames")).warnings[0]
    assert messages(tmp_path / "videos", flow, output, first=False, strict=True) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--fusion", "nowhere.safetensors"], "--fusion nowhere.safetensors: expected random"),
        (["--fusion", "pca"], "name them with --training-videos"),
        (["--training-videos", "nowhere"], "nowhere: no such file or folder"),
        (["--rgb-weights", "nowhere.pth"], "nowhere.pth: expected a file of ResNet101 weights"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_stage_one_needs_is_found_before_any_flow(
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    said: str,
    dry: list[str],
) -> None:
    """A missing file would be found after days of flow."""
    assert run(videos, "-o", tmp_path / "x", *FLAGS, *flags, *dry) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

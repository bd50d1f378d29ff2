"""Weight files: every format read, nothing executed, every failure one clear line."""

from __future__ import annotations

import argparse
import datetime
import fractions
import pickle
import re
import shlex
import subprocess
import sys
import tarfile
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from data.errors import InputError
from pipeline.cli import cli
from pipeline.stage_one import weights
from tests.extract_features.material import write_video
from tests.helpers import python2_checkpoint

STATE = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.bias": torch.ones(2)}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(torch.equal(found[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize("legacy", [False, True])
def test_pytorch_files(tmp_path: Path, legacy: bool) -> None:
    """Checkpoints of the authors' lineage are in the old, unzipped format."""
    path = tmp_path / "model_best.pth.tar"
    content = {"epoch": 7, "arch": "resnet", "state_dict": STATE, "best_prec1": 80.5}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert same(weights.read_state(path))


def test_safetensors_files(tmp_path: Path) -> None:
    """The format that can hold no code must be readable."""
    path = tmp_path / "weights.safetensors"
    save_file(STATE, path)
    assert same(weights.read_state(path))


class _Bomb:
    """Touches a file when unpickled: stands for any code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("plain", [False, True])
def test_a_file_that_would_run_code_is_refused_and_not_run(tmp_path: Path, plain: bool) -> None:
    """Opening a stranger's checkpoint must never execute it."""
    mark, path = tmp_path / "executed", tmp_path / "evil.pth"
    content = {"state_dict": STATE, "note": _Bomb(mark)}
    if plain:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=r"evil\.pth: (refused|not a PyTorch file)"):
        weights.read_state(path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    """A truncated download must say which file it is, in one line."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        weights.read_state(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_checkpoint_is_named(tmp_path: Path) -> None:
    """The commonest damage: a download that stopped half-way."""
    path = tmp_path / "half.pth"
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"half\.pth"):
        weights.read_state(path)


def test_missing_and_empty_handed_files(tmp_path: Path) -> None:
    """A wrong path and a file without tensors are different mistakes."""
    with pytest.raises(InputError, match="found none"):
        weights.read_state(tmp_path / "nowhere.pth")
    torch.save({"epoch": 3}, tmp_path / "no_tensors.pth")
    with pytest.raises(InputError, match=r"no_tensors\.pth: expected a state dict"):
        weights.read_state(tmp_path / "no_tensors.pth")


def test_without_a_network_the_error_says_what_to_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ImageNet weights cannot always be downloaded; the line must offer the ways round."""

    def offline(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(InputError, match=r"--rgb-weights FILE.*--weights random") as caught:
        weights.imagenet_state()
    assert "\n" not in str(caught.value)


def test_a_tar_archive_is_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    """`.pth.tar` files are no tar archives; a real one must not be unpacked."""
    path = tmp_path / "real.pth.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, arcname="member")
    with pytest.raises(InputError, match=r"real\.pth\.tar"):
        weights.read_state(path)


def test_a_checkpoint_of_python_2_with_its_optimiser_is_read(tmp_path: Path) -> None:
    """The two-stream lineage's files list parameters by addresses, as text: "could run code"."""
    path = tmp_path / "motion.pth.tar"
    python2_checkpoint.write(path, STATE)
    assert same(weights.read_state(path))


def test_values_that_are_no_tensors_are_passed_over(tmp_path: Path) -> None:
    """Training scripts keep their options and accuracies beside the tensors: files were refused."""
    path = tmp_path / "model_best.pth"
    beside = {
        "args": argparse.Namespace(lr=0.1, folder=Path("runs")),
        "best": np.float64(80.5),
        "curve": np.arange(3.0),
        "date": datetime.datetime(2019, 5, 1),
    }
    torch.save({"state_dict": STATE, **beside}, path)
    before = set(torch.serialization.get_safe_globals())
    assert same(weights.read_state(path))
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_refused_file_comes_with_the_command_that_converts_it(tmp_path: Path) -> None:
    """A refusal without a way out sends people to `weights_only=False` everywhere."""
    path = tmp_path / "it's odd.pth"
    torch.save({"state_dict": STATE, "model_class": fractions.Fraction(1, 2)}, path)
    with pytest.raises(InputError, match=r"it holds fractions\.Fraction") as caught:
        weights.read_state(path)
    command = str(caught.value).split("`")[1].replace("python", sys.executable, 1)
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True)
    assert same(weights.read_state(tmp_path / "tensors.pth"))


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        (b"<!DOCTYPE html><html><title>Google Drive</title></html>", "a web page.*again"),
        (b"\n <HTML><body>404</body></HTML>", "a web page.*again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
            "a Git LFS pointer.*again",
        ),
        (b'{"message": "Bad credentials"}', "a server's answer.*again"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "a compressed file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"", "an empty file.*again"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_other_things_saved_under_the_name_of_weights(
    tmp_path: Path, name: str, content: bytes, meaning: str
) -> None:
    """A page of a download service was said to "could run code"."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{re.escape(name)}: {meaning}"):
        weights.read_state(path)


def test_safetensors_under_another_name_are_read(tmp_path: Path) -> None:
    """The content decides: a renamed file was called damaged."""
    save_file(STATE, tmp_path / "weights.pth")
    assert same(weights.read_state(tmp_path / "weights.pth"))


def cut_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a cut file of ImageNet weights into torch's cache, and cut the network."""

    def offline(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    path = weights.imagenet_path()
    path.parent.mkdir(parents=True)
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:300])
    return path


def test_a_cut_download_in_torchs_cache_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line said that nothing can be downloaded, not that a file has to be deleted first."""
    path = cut_cache(tmp_path, monkeypatch)
    with pytest.raises(InputError, match="delete " + re.escape(str(path))):
        weights.imagenet_state()


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("command", ["demo", "extract-features"])
def test_weights_are_checked_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, dry: bool
) -> None:
    """Hours of flow were computed before a cut file of weights was found; dry runs saw nothing."""
    path = cut_cache(tmp_path / "torch", monkeypatch)
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "one.avi", 1, 6)
    arguments = [command, "-o", str(tmp_path / "out")]
    if command == "demo":
        arguments += ["--weights", "imagenet", "--videos", "8"]
    else:
        arguments += [str(tmp_path / "videos"), "--fusion", "pca"]
        arguments += ["--training-videos", str(tmp_path / "videos")]
    result = CliRunner().invoke(cli, arguments + ["--dry-run"] * dry)
    assert result.exit_code == 2
    assert f"delete {path}" in result.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out-flow").exists()

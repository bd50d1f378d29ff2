"""Weight files: every format read, nothing executed, every failure one clear line."""

from __future__ import annotations

import pickle
import tarfile
import urllib.error
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from data.errors import InputError
from pipeline.stage_one import weights

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

"""Weight files of the trunks: read without running code, and named in every error."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_OFFLINE_HELP = (
    "download it elsewhere (https://download.pytorch.org/models/resnet101-63fe2227.pth) and pass "
    "--rgb-weights FILE, or try things out with --weights random"
)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint: PyTorch (.pth, .pth.tar, .pt) or safetensors.

    Nothing in the file is executed: PyTorch files are opened with `weights_only`.

    Raises
    ------
    InputError
        Missing, unreadable, unsafe, or without tensors; the message names the file.
    """
    from model.features.keys import find_state

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a file of ResNet101 weights, found none")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    try:
        return find_state(content)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _read_torch(path: Path) -> object:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of old pickle protocols; what counts is the content.
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error):
            raise InputError(
                f"{path}: refused, because it holds more than tensors and plain values and could "
                "run code when opened; save its state_dict alone, best as .safetensors"
            ) from error
        raise InputError(f"{path}: not a PyTorch file ({_first_line(error)})") from error
    except Exception as error:  # A damaged pickle can fail in any way.
        raise InputError(
            f"{path}: cannot be read as a PyTorch file ({_first_line(error)}); is it whole?"
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    return read_safetensors(path)[0]


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read tensors and JSON metadata (values decoded) of one of this program's files.

    Raises
    ------
    InputError
        Missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = {name: _decoded(text) for name, text in (file.metadata() or {}).items()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    return tensors, metadata


def write_safetensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, object],
    *,
    replace: bool = True,
) -> None:
    """Write tensors with JSON metadata, whole or not at all.

    Raises
    ------
    FileExistsError
        Another process has written the file meanwhile, and `replace` is False.
    InputError
        The file cannot be written.
    """
    from safetensors.torch import save

    from data.cache.files import sync, temporary_name

    temporary = path.parent / temporary_name()
    texts = {name: json.dumps(value) for name, value in metadata.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, texts)
        temporary.write_bytes(content)  # `save_file` would make it unreadable for others.
        sync(temporary)
        if not replace and _linked(temporary, path):
            return
        os.replace(temporary, path)
        sync(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _linked(temporary: Path, path: Path) -> bool:
    """Give a file its name unless that is taken; False where the disk knows no links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(str(path)) from None
        return False
    return True


def imagenet_state() -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights of ResNet101 (V1, the lineage of the paper's trunks).

    They are downloaded once, to torch's own cache folder.

    Raises
    ------
    InputError
        When they cannot be downloaded; says what to pass instead.
    """
    from torchvision.models import ResNet101_Weights

    weights = ResNet101_Weights.IMAGENET1K_V1
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"ImageNet weights cannot be downloaded from {weights.url} ({_first_line(error)}); "
            + _OFFLINE_HELP
        ) from error


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

"""Weight files of the trunks: read without running code, and named in every error."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError
from pipeline.runner.files import read_safetensors

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
    content = read_safetensors(path)[0] if path.suffix == ".safetensors" else _read_torch(path)
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


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

"""Weight files of the trunks: read without running code, and named in every error."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from data.errors import InputError
from pipeline.runner.files import read_safetensors

if TYPE_CHECKING:
    from torch import Tensor

_OFFLINE_HELP = (
    "download it elsewhere (https://download.pytorch.org/models/resnet101-63fe2227.pth) and pass "
    "--rgb-weights FILE, or try things out with --weights random"
)
_AGAIN = "download the weights themselves again"
#: What is often saved in place of weights: how it starts, in lower case, what it is, what to do.
_IMPOSTORS = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the weights that it stands for; run `git lfs pull` where it came "
        f"from, or {_AGAIN}",
    ),
    (b"<", f"a web page, not weights; {_AGAIN}, not the page that shows them"),
    (b'{"', f"a server's answer in JSON, not weights; {_AGAIN}"),
    (b"\x1f\x8b", "a compressed file; unpack it first (`gunzip` or `tar -xzf`)"),
    (b"\x89hdf", "an HDF5 file, such as Keras writes; expected a PyTorch or safetensors file"),
)
#: Plain values that training scripts keep beside tensors; nothing here reads them, and each is
#: replaced by a stand-in that ignores what it is given.
_PLAIN = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "datetime.datetime",
    "datetime.date",
    "datetime.timedelta",
    "_codecs.encode",  # of bytes; older versions of PyTorch refuse it
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
)


class _Ignored:
    """Stands for a plain value; keeps nothing and does nothing."""

    def __init__(self, *args: object) -> None:
        """Ignore how the value is made."""

    def __setstate__(self, state: object) -> None:
        """Ignore what the value holds."""


def _stand_in(name: str) -> type:
    """Return an empty class under the name of another, by which PyTorch's reader finds it."""
    module, _, short = name.rpartition(".")
    return type(short, (_Ignored,), {"__module__": module, "__qualname__": short})


@contextmanager
def _plain_values() -> Iterator[None]:
    """Let PyTorch's safe reader pass over the values of `_PLAIN` inside the block."""
    from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

    before = list(get_safe_globals())  # a copy: PyTorch 2.4 returns its own list
    add_safe_globals([_stand_in(name) for name in _PLAIN])
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint: PyTorch (.pth, .pth.tar, .pt) or safetensors.

    Nothing in the file is executed: PyTorch files are opened with `weights_only`. The content, not
    the name, decides which of the two it is.

    Raises
    ------
    InputError
        Missing, unreadable, unsafe, or without tensors; the message names the file.
    """
    from model.features.keys import find_state

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected a file of ResNet101 weights, found none")
    start = _start(path)
    safetensors = start[8:9] == b"{" or path.suffix == ".safetensors"
    content = read_safetensors(path)[0] if safetensors else _read_torch(path)
    try:
        return find_state(content)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _start(path: Path) -> bytes:
    """Return a file's first bytes; InputError where they are those of something else."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not start:
        raise InputError(f"{path}: an empty file; {_AGAIN}")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, meaning in _IMPOSTORS:
        if text.startswith(beginning):
            raise InputError(f"{path}: {meaning}")
    return start


def _read_torch(path: Path) -> object:
    from pipeline.stage_one.python2 import rewritten

    try:
        try:
            return _load(path)
        except pickle.UnpicklingError:
            old = rewritten(path)
            if old is None:
                raise
            return _load(old)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {_refusal(path, str(error))}") from error
    except Exception as error:  # A damaged pickle can fail in any way.
        raise InputError(
            f"{path}: cannot be read as a PyTorch file ({_first_line(error)}); is it whole?"
        ) from error


def _load(file: Path | BinaryIO) -> object:
    import torch

    with warnings.catch_warnings(), _plain_values():
        warnings.simplefilter("ignore")  # Of old pickle protocols; what counts is the content.
        return torch.load(file, map_location="cpu", weights_only=True)


def _refusal(path: Path, reason: str) -> str:
    """Say why PyTorch's safe reader refused a file, and what to do."""
    if "Weights only load failed" not in reason:
        return f"not a PyTorch file ({reason.partition(chr(10))[0]})"
    names = re.search(r"GLOBAL (\S+)", reason)
    what = names[1] if names else "more than tensors and plain values"
    code = (
        f"import torch; c = torch.load({str(path)!r}, map_location='cpu', weights_only=False); "
        "c = c.state_dict() if hasattr(c, 'state_dict') else c.get('state_dict', c); "
        "torch.save({'state_dict': c}, 'tensors.pth')"
    )
    return (
        f"refused, because it holds {what} and could run code when opened; if you trust who made "
        f"it, keep its tensors alone with `python -c {shlex.quote(code)}` and pass tensors.pth"
    )


def imagenet_path() -> Path:
    """Return where torchvision's ImageNet weights of ResNet101 are, or will be downloaded to."""
    from torch.hub import get_dir
    from torchvision.models import ResNet101_Weights

    return Path(get_dir(), "checkpoints", os.path.basename(ResNet101_Weights.IMAGENET1K_V1.url))


def imagenet_state() -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights of ResNet101 (V1, the lineage of the paper's trunks).

    They are downloaded once, to torch's own cache folder.

    Raises
    ------
    InputError
        When they cannot be downloaded (says what to pass instead), or the file in torch's cache is
        damaged (says which one to delete).
    """
    from torchvision.models import ResNet101_Weights

    path = imagenet_path()
    if path.exists():
        try:
            return read_state(path)
        except InputError as error:
            raise InputError(
                f"{error}; these are ImageNet weights in torch's cache: delete {path}, and they "
                "are downloaded again"
            ) from error
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

"""Choose a TV-L1 engine by name, load it, and say what its results are worth."""

from __future__ import annotations

import importlib
import importlib.util
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

NAMES = ("auto", "numba", "opencv", "cuda")

_MODULES = {
    "numba": "model.tvl1.fused",
    "opencv": "model.tvl1.opencv",
    "cuda": "model.tvl1.cuda",
}
_X86_64 = ("x86_64", "amd64")
# The major version of OpenCV that the numba engine reproduces to the bit.
_OPENCV_MAJOR = 5


def choose(name: str, device: str = "cpu") -> str:
    """Return the engine that a name stands for on this machine.

    Parameters
    ----------
    name : {"auto", "numba", "opencv", "cuda"}
        "auto" is the CUDA engine on a CUDA device, else numba, else OpenCV.
    device : str
        PyTorch's name of the device, such as "cpu" or "cuda:0".

    Raises
    ------
    ValueError
        If the name is unknown or its engine is not available here.
    """
    if name not in NAMES:
        raise ValueError(f"TV-L1 engine: expected one of {', '.join(NAMES)}, got {name!r}")
    if name == "auto":
        if device.startswith("cuda") and _available("cuda"):
            return "cuda"
        return "numba" if _available("numba") else "opencv"
    if not _available(name):
        raise ValueError(_WHY_NOT[name])
    return name


def load(name: str) -> Callable:
    """Return an engine's ``calc(i0, i1, options) -> (H, W, 2) float32 px``.

    Raises
    ------
    ValueError
        If the name is unknown or its engine is not available here.
    """
    if name not in _MODULES:
        raise ValueError(f"TV-L1 engine: expected one of {', '.join(_MODULES)}, got {name!r}")
    return importlib.import_module(_MODULES[choose(name)]).calc


def identity(name: str) -> dict[str, str]:
    """Say which engine, which versions and which guarantee a result rests on.

    ``guarantee`` is "bit-identical" where the result equals that of the installed OpenCV's
    ``DualTVL1OpticalFlow`` to the bit, else "within the gate": mean difference at most
    0.03 px and at least 99 % of 8-bit values within one level.
    """
    if name not in _MODULES:
        raise ValueError(f"TV-L1 engine: expected one of {', '.join(_MODULES)}, got {name!r}")
    exact = name == "opencv" or (name == "numba" and _reproduces_opencv())
    found = {
        "engine": name,
        "guarantee": "bit-identical" if exact else "within the gate",
        "opencv": _opencv_version(),
    }
    if name == "numba":
        found["numba"] = version("numba")
    return found


def _reproduces_opencv() -> bool:
    """Tell whether the numba engine was proven bit-identical on such a machine.

    Other processors contract a·b+c to one rounding in OpenCV's build.
    """
    major = _opencv_version().split(".")[0]
    return platform.machine().lower() in _X86_64 and major == str(_OPENCV_MAJOR)


def _available(name: str) -> bool:
    """Tell whether an engine's module and the library under it are installed."""
    library = {"numba": "numba", "opencv": "cv2", "cuda": _MODULES["cuda"]}[name]
    return importlib.util.find_spec(library) is not None


def _opencv_version() -> str:
    """Return the installed OpenCV's version without importing it where possible."""
    for package in ("opencv-contrib-python", "opencv-contrib-python-headless"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return importlib.import_module("cv2").__version__


_WHY_NOT = {
    "numba": "TV-L1 engine numba: numba is not installed; pip install numba, or use opencv",
    "opencv": "TV-L1 engine opencv: OpenCV is not installed; pip install opencv-contrib-python",
    "cuda": "TV-L1 engine cuda: this version has none; use auto, numba or opencv",
}

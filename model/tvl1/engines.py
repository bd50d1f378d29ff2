"""Choose a TV-L1 engine by name, load it, and say what its results are worth."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

NAMES = ("auto", "numba", "opencv", "cuda")

_MODULES = {
    "numba": "model.tvl1.cpu.fused",
    "opencv": "model.tvl1.opencv",
    "cuda": "model.tvl1.cuda.calc",
}
# Packages that an engine's results may depend on, beside OpenCV.
_LIBRARIES = {"numba": ("numba",), "opencv": (), "cuda": ("torch", "triton")}
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
        if device.startswith("cuda") and _why_not("cuda") is None:
            return "cuda"
        return "numba" if _why_not("numba") is None else "opencv"
    reason = _why_not(name)
    if reason is not None:
        raise ValueError(f"TV-L1 engine {name}: {reason}")
    return name


@functools.cache
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
    0.03 px and at least 99 % of 8-bit values within one level. The numba engine promises the
    former on x86-64 with OpenCV 5, and only where it holds for a pair of frames tried here.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in _MODULES:
        raise ValueError(f"TV-L1 engine: expected one of {', '.join(_MODULES)}, got {name!r}")
    exact = name == "opencv" or (name == "numba" and _reproduces_opencv())
    found = {
        "engine": name,
        "guarantee": "bit-identical" if exact else "within the gate",
        "opencv": _opencv_version(),
    }
    for package in _LIBRARIES[name]:
        found[package] = _version(package)
    return found


def _reproduces_opencv() -> bool:
    """Tell whether the numba engine was proven exact on such a machine, and is on two frames.

    Other processors contract a·b+c to one rounding in OpenCV's build; a version after those
    it was tested with may round otherwise, too.
    """
    major = _opencv_version().split(".")[0]
    if platform.machine().lower() not in _X86_64 or major != str(_OPENCV_MAJOR):
        return False
    return importlib.import_module("model.tvl1.cpu.agreement").agrees()


def _why_not(name: str) -> str | None:
    """Return why an engine cannot run here, and what to do; None where it can."""
    if name == "cuda":
        usable, reason = importlib.import_module("model.tvl1.cuda.runtime").available()
        return None if usable else f"{reason}; use auto, numba or opencv"
    library, advice = {
        "numba": ("numba", "numba is not installed; pip install numba, or use opencv"),
        "opencv": ("cv2", "OpenCV is not installed; pip install opencv-contrib-python"),
    }[name]
    return None if importlib.util.find_spec(library) else advice


def _version(package: str) -> str:
    """Return an installed package's version, or that there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _opencv_version() -> str:
    """Return the installed OpenCV's version without importing it where possible."""
    for package in ("opencv-contrib-python", "opencv-contrib-python-headless"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return importlib.import_module("cv2").__version__

"""Choose a TV-L1 engine by name, load it, and state what its results guarantee."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from importlib.util import find_spec

NAMES = ("auto", "numba", "opencv", "cuda")

# Packages that an engine's results may depend on, apart from OpenCV.
_LIBRARIES = {"numba": ("numba",), "opencv": (), "cuda": ("torch", "triton")}
_MISSING = "not installed"
_X86_64 = ("x86_64", "amd64")
_NO_SOLVER = (
    "this OpenCV has no optflow module; pip uninstall opencv-python opencv-python-headless, then "
    "pip install --force-reinstall opencv-contrib-python, or use --engine numba"
)
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
    _check_name(name, NAMES)
    if name == "auto":
        if device.startswith("cuda") and _why_not("cuda") is None:
            return "cuda"
        name = "numba" if _why_not("numba") is None else "opencv"
    reason = _why_not(name)
    if reason is not None:
        raise ValueError(f"TV-L1 engine {name}: {reason}")
    return name


# An engine is imported when it is chosen: numba, Triton and torch take seconds, and a machine
# may lack them.
@functools.cache
def load(name: str) -> Callable:
    """Return an engine's ``calc(i0, i1, options) -> (H, W, 2) float32 px``.

    Raises
    ------
    ValueError
        If the name is unknown or its engine is not available here.
    """
    _check_name(name, tuple(_LIBRARIES))
    choose(name)
    if name == "cuda":
        from model.tvl1.cuda.calc import calc
    elif name == "numba":
        from model.tvl1.cpu.calc import calc
    else:
        from model.tvl1.opencv import calc
    return calc


def identity(name: str) -> dict[str, str]:
    """Return the engine, the versions and the guarantee of its results.

    ``guarantee`` is "bit-identical" if the result equals that of the installed OpenCV's
    ``DualTVL1OpticalFlow`` to the bit, else "within the gate": mean difference at most
    0.03 px and at least 99 % of 8-bit values within one level. The numba engine promises the
    former on x86-64 with OpenCV 5, and only if it holds for a pair of frames tried here.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    _check_name(name, tuple(_LIBRARIES))
    exact = name == "opencv" or (name == "numba" and _tested_machine() and agrees())
    versions = {package: _version(package) for package in _LIBRARIES[name]}
    return {
        "engine": name,
        "guarantee": "bit-identical" if exact else "within the gate",
        "opencv": _opencv_version(),
        **versions,
    }


def _check_name(name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ValueError(f"TV-L1 engine: expected one of {', '.join(names)}, got {name!r}")


def _tested_machine() -> bool:
    """Whether the numba engine was shown to be exact on such a machine.

    Other processors contract a·b+c to one rounding in OpenCV's build; an OpenCV version other
    than those tested may also round otherwise.
    """
    major = _opencv_version().split(".")[0]
    return platform.machine().lower() in _X86_64 and major == str(_OPENCV_MAJOR)


@functools.cache
def agrees() -> bool:
    """Check on one small pair of frames that numba equals the installed OpenCV to the bit.

    It takes a few milliseconds; the first time on a machine, compiling adds a quarter of a
    minute. A single pair proves nothing, but a changed order of operations anywhere in
    OpenCV's solver, pyramid, warp or median changes some of its 13,000 bits. False where OpenCV
    lacks its own solver.
    """
    import cv2
    import numpy as np

    from model.tvl1 import opencv
    from model.tvl1.cpu.calc import calc

    if not opencv.has_solver():
        return False
    rng = np.random.default_rng(0)
    height, width = 60, 70
    scene = cv2.GaussianBlur(rng.uniform(0, 255, (height + 9, width + 9)), (0, 0), 1.5)
    scene = 255 * (scene - scene.min()) / np.ptp(scene)
    first = np.rint(scene[4 : 4 + height, 4 : 4 + width]).astype(np.uint8)
    noisy = scene[3 : 3 + height, 6 : 6 + width] + rng.normal(0, 2, (height, width))
    second = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    ours, theirs = calc(first, second), opencv.calc(first, second)
    return bool(np.array_equal(ours.view(np.uint32), theirs.view(np.uint32)))


def _why_not(name: str) -> str | None:
    """Return why an engine cannot run here, and what to do; None if it can."""
    if name == "cuda":
        from model.tvl1.cuda.runtime import available

        usable, reason = available()
        return None if usable else f"{reason}; use auto, numba or opencv"
    if name == "numba":
        there = find_spec("numba") is not None
        return None if there else "numba is not installed; pip install numba, or use opencv"
    if find_spec("cv2") is None:
        return "OpenCV is not installed; pip install opencv-contrib-python"
    from model.tvl1.opencv import has_solver

    return None if has_solver() else _NO_SOLVER


def _version(package: str) -> str:
    """Return an installed package's version, or that there is none."""
    from importlib.metadata import PackageNotFoundError, version  # The shell needs `NAMES` alone.

    try:
        return version(package)
    except PackageNotFoundError:
        return _MISSING


def _opencv_version() -> str:
    """Return the installed OpenCV's version without importing it where possible."""
    for package in ("opencv-contrib-python", "opencv-contrib-python-headless"):
        if (version := _version(package)) != _MISSING:
            return version
    import cv2

    return cv2.__version__

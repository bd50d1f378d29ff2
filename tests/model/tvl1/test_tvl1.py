"""TV-L1 against planted motion and scikit-image; engine choice; refusals."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.registration import optical_flow_tvl1

from model.tvl1 import engines, opencv
from model.tvl1.cpu.calc import calc as numba_calc
from model.tvl1.options import TVL1Options

HEIGHT, WIDTH = 120, 160
MARGIN = 16


def scene(seed: int = 0) -> np.ndarray:
    """Return a texture with detail at several scales, 0 to 255 float32, larger than a frame."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(-1, 1, (HEIGHT + 80, WIDTH + 80)).astype(np.float32)
    layers = [cv2.GaussianBlur(noise, (0, 0), s) * s for s in (1.5, 3.0, 8.0)]
    return cv2.normalize(sum(layers), None, 0, 255, cv2.NORM_MINMAX)


def planted(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two frames and the true flow of an affine motion about the middle, 2x3."""
    large = scene()
    centre = np.array([large.shape[1] / 2, large.shape[0] / 2])
    about = matrix.astype(np.float64).copy()
    about[:, 2] += centre - about[:, :2] @ centre
    moved = cv2.warpAffine(large, about, large.shape[::-1], flags=cv2.INTER_CUBIC)
    inside = np.s_[40 : 40 + HEIGHT, 40 : 40 + WIDTH]
    y, x = np.mgrid[40 : 40 + HEIGHT, 40 : 40 + WIDTH]
    truth = np.stack([about[0, 0] * x + about[0, 1] * y + about[0, 2] - x,
                      about[1, 0] * x + about[1, 1] * y + about[1, 2] - y], axis=-1)  # fmt: skip
    i0, i1 = (np.rint(np.clip(i[inside], 0, 255)).astype(np.uint8) for i in (large, moved))
    return i0, i1, truth


def turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0]])


MOTIONS = {
    "right and up": np.array([[1, 0, 3.0], [0, 1, -2.0]]),
    "half a pixel": np.array([[1, 0, 0.5], [0, 1, 0.25]]),
    "rotation": turn(2.0),
    "zoom": np.array([[1.03, 0, 0], [0, 1.03, 0]]),
}


@pytest.mark.parametrize("name", MOTIONS)
@pytest.mark.parametrize("calc", [numba_calc, opencv.calc], ids=["numba", "opencv"])
def test_planted_motion_is_recovered(name: str, calc) -> None:
    """Breaks if u and v are swapped, a sign is wrong, or the pyramid loses the motion."""
    i0, i1, truth = planted(MOTIONS[name])
    error = np.linalg.norm(calc(i0, i1) - truth, axis=-1)
    error = error[MARGIN:-MARGIN, MARGIN:-MARGIN]
    # A tenth of a pixel: 8-bit rounding and the smoothness term's bias leave 0.02 to 0.06 px
    # on such texture; a swapped axis or lost scale would cost 0.4 px or more.
    assert np.median(error) < 0.1


def test_identical_frames_have_exactly_no_motion() -> None:
    """Breaks if a still camera yields anything but zeros, which compress and mean "still"."""
    i0, _, _ = planted(MOTIONS["zoom"])
    for calc in (numba_calc, opencv.calc):
        flow = calc(i0, i0.copy())
        assert flow.shape == (HEIGHT, WIDTH, 2)
        assert not flow.any()


def test_uniform_frames_have_no_motion() -> None:
    """Breaks if a gradient of zero divides by zero."""
    i0 = np.full((40, 50), 90, np.uint8)
    assert not numba_calc(i0, np.full_like(i0, 92)).any()


def test_scikit_image_agrees() -> None:
    """Breaks if both of ours share a mistake in the model: this solver is another author's."""
    i0, i1, _ = planted(np.array([[1, 0, 1.5], [0, 1, -0.7]]))
    options = TVL1Options(epsilon=0.0, median=1, inner=100, outer=1, warps=10, lam=0.15)
    flow = numba_calc(i0, i1, options)
    # scikit-image takes grey levels in 0..1: its attachment is per squared full range, and
    # its time step is in units of theta. Fixed iterations (tol=0), since its stopping test
    # compares an array with an alias of itself.
    v, u = optical_flow_tvl1(
        i0 / 255.0, i1 / 255.0, attachment=40, tightness=0.3, num_warp=10, num_iter=100, tol=0.0
    )
    inside = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    apart = np.hypot(flow[..., 0] - u, flow[..., 1] - v)[inside]
    # Another pyramid, presmoothing, gradient and interpolation: 0.1 px is what two right
    # solvers of one energy differ by here; a wrong term moves the flow by its own size, 1.6 px.
    assert np.median(apart) < 0.1


@pytest.mark.parametrize("calc", [numba_calc, opencv.calc], ids=["numba", "opencv"])
class TestRefusals:
    """Break if a mistaken call computes something instead of saying what was expected."""

    good = np.zeros((20, 30), np.uint8)

    def test_other_sizes(self, calc) -> None:
        with pytest.raises(ValueError, match="differ in size"):
            calc(self.good, np.zeros((20, 31), np.uint8))

    def test_other_types(self, calc) -> None:
        with pytest.raises(ValueError, match=r"second frame: expected uint8.*float32"):
            calc(self.good, self.good.astype(np.float32))

    def test_nan(self, calc) -> None:
        with pytest.raises(ValueError, match="float64 with NaN"):
            calc(np.full((20, 30), np.nan), self.good)

    def test_colour(self, calc) -> None:
        with pytest.raises(ValueError, match=r"grey \(H, W\) array, got \(20, 30, 3\)"):
            calc(np.zeros((20, 30, 3), np.uint8), self.good)

    def test_single_row(self, calc) -> None:
        with pytest.raises(ValueError, match="at least 2x2"):
            calc(np.zeros((1, 30), np.uint8), np.zeros((1, 30), np.uint8))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tau", 0.0), ("tau", float("nan")), ("lam", -1.0), ("theta", 0.0), ("scales", 0),
        ("scale_step", 1.0), ("scale_step", 0.0), ("warps", 0), ("epsilon", -0.1),
        ("epsilon", float("nan")), ("inner", 0), ("outer", 0), ("median", 4), ("median", 7),
    ],
)  # fmt: skip
def test_senseless_parameters(name: str, value: float) -> None:
    """Breaks if a parameter for which the method is not defined is accepted in silence."""
    with pytest.raises(ValueError, match=f"parameter {name}: expected"):
        TVL1Options(**{name: value})


def test_defaults_are_opencvs() -> None:
    """Breaks if our defaults and those of the installed OpenCV part ways."""
    solver, ours = cv2.optflow.DualTVL1OpticalFlow_create(), TVL1Options()
    assert ours.tau == solver.getTau()
    assert ours.lam == solver.getLambda()
    assert ours.theta == solver.getTheta()
    assert ours.scales == solver.getScalesNumber()
    assert ours.scale_step == solver.getScaleStep()
    assert ours.warps == solver.getWarpingsNumber()
    assert ours.epsilon == solver.getEpsilon()
    assert ours.inner == solver.getInnerIterations()
    assert ours.outer == solver.getOuterIterations()
    assert ours.median == solver.getMedianFiltering()


def test_auto_is_numba_on_a_cpu() -> None:
    """Breaks if users without a GPU get the slow engine."""
    assert engines.choose("auto") == "numba"
    assert engines.load("numba") is numba_calc
    assert engines.load("opencv") is opencv.calc


def test_unknown_engine() -> None:
    """Breaks if a mistyped engine's name is not answered with the names that exist."""
    for ask in (engines.choose, engines.load, engines.identity):
        with pytest.raises(ValueError, match=r"expected one of .*numba.*got 'numbat'"):
            ask("numbat")


def test_identity_names_versions_and_guarantee() -> None:
    """Breaks if a cache's header no longer says what its numbers rest on."""
    identity = engines.identity("numba")
    assert identity["engine"] == "numba"
    assert identity["guarantee"] in ("bit-identical", "within the gate")
    assert identity["opencv"][0].isdigit()
    assert identity["numba"]
    assert engines.identity("opencv")["guarantee"] == "bit-identical"


def test_other_machines_promise_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if bit-identity is claimed where it was not shown."""
    monkeypatch.setattr(engines.platform, "machine", lambda: "aarch64")
    assert engines.identity("numba")["guarantee"] == "within the gate"


def test_other_versions_of_opencv_promise_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if bit-identity is claimed for an OpenCV that nobody compared with."""
    monkeypatch.setattr(engines, "_opencv_version", lambda: "4.12.0.88")
    assert engines.identity("numba")["guarantee"] == "within the gate"


def test_a_changed_opencv_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a later OpenCV 5 that rounds otherwise is still said to be equal to the bit."""
    monkeypatch.setattr(engines.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(engines, "_opencv_version", lambda: "5.9.0")
    calc = opencv.calc
    monkeypatch.setattr(opencv, "calc", lambda *frames: calc(*frames) * np.float32(1.001))
    engines.agrees.cache_clear()
    try:
        assert engines.identity("numba")["guarantee"] == "within the gate"
    finally:
        engines.agrees.cache_clear()


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the CUDA engine unavailable, and return the reason."""
    reason = "PyTorch sees no CUDA device"
    monkeypatch.setattr("model.tvl1.cuda.runtime.available", lambda: (False, reason))
    return reason


def test_cuda_that_cannot_run_says_why(no_gpu: str) -> None:
    """Breaks if a missing GPU shows as a traceback in the middle of a run."""
    engines.load.cache_clear()
    for ask in (engines.choose, engines.load):
        with pytest.raises(ValueError, match=f"engine cuda: {no_gpu}; use auto, numba or opencv"):
            ask("cuda")


def test_auto_takes_the_cpu_where_the_gpu_cannot_run(no_gpu: str) -> None:
    """Breaks if auto on a CUDA device chooses an engine that cannot run."""
    assert engines.choose("auto", "cuda:0") == "numba"


def test_auto_takes_the_gpu_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a usable GPU is left idle, or used when the CPU was chosen."""
    monkeypatch.setattr("model.tvl1.cuda.runtime.available", lambda: (True, ""))
    assert engines.choose("auto", "cuda:0") == engines.choose("cuda") == "cuda"
    assert engines.choose("auto", "cpu") == "numba"


def test_identity_of_the_cuda_engine() -> None:
    """Breaks if a cache made on a GPU does not say which libraries made it, or promises bits."""
    identity = engines.identity("cuda")
    assert identity["engine"] == "cuda"
    assert identity["guarantee"] == "within the gate"
    assert (
        identity["torch"] == torch.__version__.split("+")[0]
        or identity["torch"] == torch.__version__
    )
    assert identity["triton"]

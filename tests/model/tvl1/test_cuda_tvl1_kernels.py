"""The CUDA engine's kernels: against OpenCV, the written equations and the CPU engine.

On a machine with a GPU they run on it. Without one they need Triton's interpreter, which must
be chosen before Triton is imported: test_cuda_tvl1.py runs this file in such a process.
"""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
import torch

GPU = torch.cuda.is_available()
if not GPU and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("run by test_kernels_under_the_interpreter", allow_module_level=True)
triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

from data.cache import flow as flow_cache  # noqa: E402
from model.tvl1.cpu.calc import calc as numba_calc  # noqa: E402
from model.tvl1.cuda import calc as cuda  # noqa: E402
from model.tvl1.cuda import layout as cuda_layout  # noqa: E402
from model.tvl1.cuda.iterate import DATA, DUAL, WORK_PLANES, iterate  # noqa: E402
from model.tvl1.cuda.median import median_filter  # noqa: E402
from model.tvl1.cuda.warp import linearise, upscale  # noqa: E402
from model.tvl1.options import TVL1Options  # noqa: E402

needs_opencv5 = pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5,
    reason="OpenCV 4's cubic remap rounds coordinates to 1/32 px, 5's and ours do not",
)
DEVICE = "cuda" if GPU else "cpu"
BLOCK = 512
SETTINGS = {"num_stages": 1, "enable_fp_fusion": True}
SMALL = TVL1Options(scales=2, warps=1, inner=5, outer=2)


@triton.jit
def iterate_kernel(
    work, errors, count, height, width, strips, chunks, chunk_rows, step, theta, ascent,
    PLANE: tl.constexpr, S: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    found = iterate(
        work, 0, 1, PLANE, count, height, width, strips, chunks, chunk_rows,
        step, theta, ascent, S, K,
    )  # fmt: skip
    for k in tl.static_range(K):
        tl.store(errors + k, found[k])


@triton.jit
def median_kernel(
    source, target, height, width, strips, chunks, rows, S: tl.constexpr, SIDE: tl.constexpr
):
    median_filter(source, target, height, width, strips, chunks, rows, S, SIDE)


@triton.jit
def linearise_kernel(first, second, uv, data, size, height, width, BLOCK: tl.constexpr):
    linearise(first, second, size, uv, data, size, height, width, BLOCK)


@triton.jit
def upscale_kernel(
    source, target, places, weights, at_y, at_x, h, w, height, width, factor, plane,
    BLOCK: tl.constexpr,
):  # fmt: skip
    upscale(source, target, places, weights, at_y, at_x, h, w, height, width, factor, plane, BLOCK)


def device(array):
    return torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE)


def texture(height, width, seed):
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)


def view(image, dx, dy, height, width):
    move = np.float32([[1, 0, dx - 8], [0, 1, dy - 8]])
    moved = cv2.warpAffine(image, move, (width, height), flags=cv2.INTER_CUBIC)
    return moved.clip(0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def pairs():
    """Three pairs: moving, not moving, moving little; (3, H, W) uint8 twice."""
    height, width = 20, 34
    image = texture(height + 16, width + 16, 1)
    moves = [(0.8, -0.5), (0.0, 0.0), (0.05, 0.02)]
    first = view(image, 0, 0, height, width)
    second = np.stack([view(image, dx, dy, height, width) for dx, dy in moves])
    return np.stack([first] * 3), second


def iterate_by_the_equations(state, data, step, theta, ascent):
    """One iteration in float64, as IPOL 2013's equations and OpenCV's borders have it."""
    u, v, p11, p12, p21, p22 = state
    ix, iy, rho_c = data
    grad = ix**2 + iy**2
    rho = rho_c + ix * u + iy * v
    k = np.where(rho < -step * grad, step, np.where(rho > step * grad, -step, -rho / grad))

    def divergence(p, q):
        return np.diff(p, prepend=0, axis=1) + np.diff(q, prepend=0, axis=0)

    new = [
        u + k * ix + theta * divergence(p11, p12),
        v + k * iy + theta * divergence(p21, p22),
    ]
    dual = []
    for w, p, q in ((new[0], p11, p12), (new[1], p21, p22)):
        wx = np.diff(w, append=w[:, -1:], axis=1)
        wy = np.diff(w, append=w[-1:], axis=0)
        norm = 1 + ascent * np.hypot(wx, wy)
        dual += [(p + ascent * wx) / norm, (q + ascent * wy) / norm]
    return [*new, *dual], float(((new[0] - u) ** 2 + (new[1] - v) ** 2).sum())


@pytest.mark.parametrize(
    ("stages", "warps", "count", "size"),
    [(1, 1, 1, (5, 31)), (2, 4, 2, (19, 57)), (3, 16, 3, (23, 60)), (3, 8, 1, (7, 9))],
)
def test_a_pass_does_the_written_iterations(stages, warps, count, size):
    """Any slip at strip, chunk or image borders, or in handing rows on, shows as a difference."""
    height, width = size
    plane = height * width
    rng = np.random.default_rng(stages)
    state = [rng.normal(0, 0.5, size) for _ in range(6)]
    data = [rng.normal(0, 6, size), rng.normal(0, 6, size), rng.normal(0, 4, size)]
    work = np.full((WORK_PLANES.value, height, width), np.nan, np.float32)
    work[:2], work[DUAL.value + 4 : DUAL.value + 8] = state[:2], state[2:]
    work[DATA.value :] = data
    work = device(work)
    errors = torch.zeros(stages, device=DEVICE)
    cut = cuda_layout.cut(height, width, stages, warps)
    step, theta, ascent = 0.045, 0.3, 0.25 / 0.3
    iterate_kernel[(1,)](
        work, errors, count, height, width, cut.strips, cut.chunks, cut.chunk_rows,
        step, theta, ascent, PLANE=plane, S=warps, K=stages, num_warps=warps, **SETTINGS,
    )  # fmt: skip
    expected = []
    for _ in range(count):
        state, error = iterate_by_the_equations(state, data, step, theta, ascent)
        expected.append(error)
    work = work.cpu().numpy()
    # float32 against float64, values of order 1.
    np.testing.assert_allclose(work[2:4], state[:2], atol=5e-6)
    np.testing.assert_allclose(work[DUAL.value : DUAL.value + 4], state[2:], atol=5e-6)
    np.testing.assert_allclose(errors[:count].cpu(), expected, rtol=1e-5)


@pytest.mark.parametrize(("side", "size"), [(3, (9, 40)), (5, (21, 61)), (5, (2, 3))])
def test_median_is_opencvs(side, size):
    """The selection must be exact, at replicated edges too: the median picks, it does not mix."""
    height, width = size
    image = np.random.default_rng(side).normal(size=size).astype(np.float32)
    image[: height // 2, : width // 2] = np.round(image[: height // 2, : width // 2])  # ties
    target = torch.zeros(size, device=DEVICE)
    cut = cuda_layout.cut(height, width, side // 2, 4)
    median_kernel[(1,)](
        device(image), target, height, width, cut.strips, cut.chunks, cut.chunk_rows,
        S=4, SIDE=side, num_warps=4, **SETTINGS,
    )  # fmt: skip
    np.testing.assert_array_equal(target.cpu(), cv2.medianBlur(image, side))


@needs_opencv5
def test_warp_is_opencvs_cubic_remap():
    """Rounded coordinates or another border would move the field by hundredths of a pixel."""
    height, width = 17, 29
    rng = np.random.default_rng(3)
    first = texture(height, width, 4)
    planes = np.stack([texture(height, width, s) for s in (5, 6, 7)])
    flow = rng.normal(0, 4, (2, height, width)).astype(np.float32)
    flow[:, 0, 0] = 1e6, -1e6  # Far outside: all that is read must be zero.
    flow[:, 8] = 0
    y, x = np.mgrid[:height, :width].astype(np.float32)
    warped, ix, iy = (
        cv2.remap(plane, x + flow[0], y + flow[1], cv2.INTER_CUBIC) for plane in planes
    )
    data = torch.zeros((3, height, width), device=DEVICE)
    linearise_kernel[(1,)](
        device(first), device(planes), device(flow), data, height * width, height, width,
        BLOCK=BLOCK, num_warps=4, **SETTINGS,
    )  # fmt: skip
    data = data.cpu().numpy()
    # Sixteen products of up to 255, summed in another order.
    np.testing.assert_allclose(data[0], ix, atol=3e-4)
    np.testing.assert_allclose(data[1], iy, atol=3e-4)
    rho_c = warped - ix * flow[0] - iy * flow[1] - first
    np.testing.assert_allclose(data[2], rho_c, atol=6e-3)  # gradients times up to 16 px


def test_pyramid_and_gradients_are_opencvs(pairs):
    """A wrong level shifts everything below it."""
    engine = cuda.CudaTVL1(20, 34, TVL1Options(), DEVICE, batch=2)
    pyramid = engine._pyramid(device(pairs[1][:2])).cpu().numpy()
    for frame, flat in zip(pairs[1][:2], pyramid, strict=True):
        image = frame.astype(np.float32)
        for (h, w), start in zip(engine.layout.sizes, engine.layout.starts, strict=True):
            if start:
                image = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
            found = flat[start : start + 3 * h * w].reshape(3, h, w)
            edge = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
            gradient_x = 0.5 * (edge[1:-1, 2:] - edge[1:-1, :-2])
            gradient_y = 0.5 * (edge[2:, 1:-1] - edge[:-2, 1:-1])
            # float32 sums of products of up to 255.
            np.testing.assert_allclose(found, [image, gradient_x, gradient_y], atol=2e-4)


def test_flow_is_carried_to_the_finer_level_as_opencv_does():
    """A shift here would be a wrong start for every finer level."""
    (height, width), (h, w) = (20, 34), (16, 27)
    layout = cuda_layout.plan(height, width, TVL1Options())
    assert layout.sizes[1] == (h, w)
    coarse = np.random.default_rng(0).normal(0, 3, (2, h, w)).astype(np.float32)
    plane = height * width
    source = np.zeros((2, plane), np.float32)
    source[:, : h * w] = coarse.reshape(2, -1)
    target = torch.zeros((2, height, width), device=DEVICE)
    upscale_kernel[(1,)](
        device(source), target, device(layout.places), device(layout.weights),
        int(layout.levels[0, 9]), int(layout.levels[0, 10]), h, w, height, width, 1.25, plane,
        BLOCK=BLOCK, num_warps=4, **SETTINGS,
    )  # fmt: skip
    for found, component in zip(target.cpu().numpy(), coarse, strict=True):
        expected = cv2.resize(component, (width, height), interpolation=cv2.INTER_LINEAR) * 1.25
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture(scope="module")
def solved(pairs):
    engine = cuda.CudaTVL1(20, 34, SMALL, DEVICE, batch=3)
    flow = engine.calc_batch(device(pairs[0]), device(pairs[1]))
    return flow, engine.counts.cpu().numpy()


@needs_opencv5
def test_whole_engine_agrees_with_the_cpu_engine(pairs, solved):
    """The parts may be right and their order wrong: buffers, warps, medians, levels, stops."""
    for i, (first, second) in enumerate(zip(*pairs, strict=True)):
        expected = numba_calc(first, second, SMALL)
        found = solved[0][i].permute(1, 2, 0).cpu().numpy()
        # A few dozen iterations with roundings that differ in the last bit; no stop is near.
        np.testing.assert_allclose(found, expected, atol=2e-3)
        assert np.abs(found - expected).mean() < 2e-4


def test_identical_frames_have_exactly_no_motion(solved):
    """Still pixels must be 128 in the cache, and the pair must cost one iteration a warp."""
    flow, counts = solved
    assert (flow[1] == 0).all()
    assert (counts[1, :, :, 0] == 1).all()


def test_each_pair_stops_by_itself(solved):
    """A batch that waits for its slowest pair iterates the others too far."""
    counts = solved[1]
    assert (counts[0, ..., 0] == SMALL.inner * SMALL.outer).all()
    assert (counts[2, ..., 0] < counts[0, ..., 0]).any()
    assert (counts[..., 1] >= 1).all()


def test_a_batch_equals_its_pairs_one_by_one(pairs, solved):
    """A field that depends on its neighbours in the batch could not be reproduced."""
    engine = cuda.CudaTVL1(20, 34, SMALL, DEVICE, batch=1)
    alone = engine.calc_batch(device(pairs[0][1:]), device(pairs[1][1:]))
    assert torch.equal(alone, solved[0][1:])


def test_flows_and_levels_of_a_videos_pairs(pairs, solved):
    """Pairs must come back in order though batches share and reorder frames."""
    frames = np.concatenate([pairs[0][:1], pairs[1]])
    index = np.array([[0, 3], [0, 2], [0, 2]])
    frames.flags.writeable = False  # As arrays from other processes are.
    engine = cuda.CudaTVL1(20, 34, SMALL, DEVICE, batch=2)
    parts = list(engine.flows(frames, index))
    assert [(p.start, p.stop) for p, _ in parts] == [(0, 2), (2, 3)]
    flow = torch.cat([f for _, f in parts])
    assert torch.equal(flow, solved[0][[2, 1, 1]])
    levels = engine.levels(frames, index[1:2], 20.0)
    expected = flow_cache.quantise(solved[0][[1]].cpu().numpy(), 20.0)
    np.testing.assert_array_equal(levels.cpu(), expected)


def test_a_smaller_batch_gives_the_same_fields(pairs, solved):
    """After a lack of memory the engine goes on with smaller buffers: no field may change."""
    frames = np.concatenate([pairs[0][:1], pairs[1]])
    engine = cuda.CudaTVL1(20, 34, SMALL, DEVICE, batch=3)
    next(engine.flows(frames, np.array([[0, 2]] * 3)))
    engine.shrink(1)
    parts = list(engine.flows(frames, np.array([[0, 2], [0, 3]])))
    assert [(p.start, p.stop) for p, _ in parts] == [(0, 1), (1, 2)]
    assert torch.equal(torch.cat([f for _, f in parts]), solved[0][[1, 2]])
    with pytest.raises(ValueError, match="expected 1 to 1 pairs, got 2"):
        engine.shrink(2)


def test_pairs_from_a_reader_come_back_in_order(pairs, solved):
    """Batches are queued one ahead: a field under another pair's name would not be noticed."""
    first, still, little = pairs[0][0], pairs[1][1], pairs[1][2]
    read = iter([(first, still), (first, still), (first, little)])
    fields = list(cuda.calc_stream(read, SMALL, DEVICE, batch=2))
    expected = solved[0][[1, 1, 2]].permute(0, 2, 3, 1).cpu().numpy()
    np.testing.assert_array_equal(np.stack(fields), expected)
    assert list(cuda.calc_stream([], SMALL, DEVICE)) == []
    with pytest.raises(ValueError, match="expected one size"):
        list(cuda.calc_stream([(first, little), (first[:18], little[:18])], SMALL, DEVICE, 2))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
    ],
)
def test_a_reader_survives_a_lack_of_memory(pairs, solved, monkeypatch, error):
    """A long video must not be lost for a batch too large; the caller can name it."""
    solve = cuda.CudaTVL1._solve
    room = 1

    def scarce(self, frames, index, *rest):
        if len(index) > room:
            raise error
        solve(self, frames, index, *rest)

    monkeypatch.setattr(cuda.CudaTVL1, "_solve", scarce)
    first, still, little = pairs[0][0], pairs[1][1], pairs[1][2]
    read = [(first, still), (first, little), (first, still)]
    told = []
    fields = cuda.calc_stream(read, SMALL, DEVICE, 3, lambda *sizes: told.append(sizes))
    expected = solved[0][[1, 2, 1]].permute(0, 2, 3, 1).cpu().numpy()
    np.testing.assert_array_equal(np.stack(list(fields)), expected)
    assert told == [(3, 1)]
    room = 0
    with pytest.raises(ValueError, match="no memory for the flow of a single pair of 34x20"):
        list(cuda.calc_stream(read, SMALL, DEVICE, 3))
    error = RuntimeError("another failure")
    with pytest.raises(RuntimeError, match="another failure"):
        list(cuda.calc_stream(read, SMALL, DEVICE, 3))


def test_a_stop_within_a_pass_is_kept(pairs):
    """Iterations beyond the stop, done before its error was known, must leave no trace."""
    options = TVL1Options(scales=1, warps=1, inner=6, outer=2, epsilon=0.05, median=1)
    found = []
    for stages in (1, 4):
        shape = cuda.Shape(warps=8, stages=stages)
        engine = cuda.CudaTVL1(20, 34, options, DEVICE, batch=2, shape=shape)
        flow = engine.calc_batch(device(pairs[0][[0, 2]]), device(pairs[1][[0, 2]]))
        found.append((flow.cpu(), engine.counts.cpu()[..., :2]))
    assert torch.equal(found[0][1], found[1][1])
    iterations = found[0][1][..., 0].flatten()
    assert ((iterations % 6) % 4 > 0).any(), "no pair stopped within a pass"
    # The same operations; only their contraction may differ between two compiled kernels.
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-4, rtol=0)


@needs_opencv5
def test_options_reach_the_device(pairs):
    """An option that the kernels ignore would silently give the default's flow."""
    options = TVL1Options(
        tau=0.2, lam=0.1, theta=0.4, scales=2, scale_step=0.85, warps=1, inner=3, outer=1, median=3
    )
    expected = numba_calc(pairs[0][0], pairs[1][0], options)
    found = cuda.calc(pairs[0][0], pairs[1][0], options)
    assert found.shape == (20, 34, 2)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # as for the whole engine


def test_wrong_frames_are_refused():
    """Wrong types or sizes would be read as another image, or beyond the buffer."""
    engine = cuda.CudaTVL1(20, 34, SMALL, DEVICE, batch=2)
    grey = torch.zeros((2, 20, 34), dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"expected uint8 \(B, 20, 34\), got float32"):
        engine.calc_batch(grey.float(), grey)
    with pytest.raises(ValueError, match=r"got uint8 \(2, 34, 20\)"):
        engine.calc_batch(grey, grey.transpose(1, 2))
    with pytest.raises(ValueError, match="as many second frames"):
        engine.calc_batch(grey, grey[:1])
    with pytest.raises(ValueError, match="frame numbers in 0 … 1, got 0 … 2"):
        next(engine.flows(grey, [[0, 2]]))
    with pytest.raises(ValueError, match="2x2"):
        cuda.CudaTVL1(1, 34, SMALL, DEVICE)
    with pytest.raises(ValueError, match="power of 2"):
        cuda.CudaTVL1(20, 34, SMALL, DEVICE, shape=cuda.Shape(warps=3))


def test_no_pairs_give_no_flow():
    """A video whose flow is all there already asks for nothing."""
    engine = cuda.CudaTVL1(20, 34, SMALL, DEVICE, batch=2)
    none = torch.zeros((0, 20, 34), dtype=torch.uint8)
    assert engine.calc_batch(none, none).shape == (0, 2, 20, 34)
    assert engine.levels(none, np.zeros((0, 2), int), 20.0).shape == (0, 2, 20, 34)


@needs_opencv5
@pytest.mark.skipif(not GPU, reason="needs a GPU: minutes a pair under the interpreter")
def test_full_size_is_within_the_gate():
    """The project's promise for paths that are not bit-identical, at the size it is used at."""
    height, width = 256, 340
    image = texture(height + 16, width + 16, 11)
    moves = [(0.5, -0.25), (3.0, 1.0), (-6.0, 2.5), (0.0, 0.0)]
    first = np.stack([view(image, 0, 0, height, width)] * len(moves))
    second = np.stack([view(image, dx, dy, height, width) for dx, dy in moves])
    found = cuda.calc_batch(device(first), device(second)).permute(0, 2, 3, 1).cpu().numpy()
    expected = np.stack([numba_calc(a, b) for a, b in zip(first, second, strict=True)])
    assert np.linalg.norm(found - expected, axis=-1).mean() <= 0.03
    levels = [flow_cache.quantise(f, 20.0).astype(int) for f in (found, expected)]
    assert (abs(levels[0] - levels[1]) <= 1).mean() >= 0.99


@pytest.mark.skipif(not GPU, reason="needs a GPU: measures its memory")
def test_memory_stays_within_what_was_told():
    """A batch chosen from a figure that is too small would run out of memory."""
    engine = cuda.CudaTVL1(120, 160, TVL1Options(warps=1, inner=2, outer=1), DEVICE, batch=32)
    frames = torch.zeros((32, 120, 160), dtype=torch.uint8, device=DEVICE)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    engine.calc_batch(frames, frames)
    # Tables and indices are not counted: under a megabyte, and the allocator's rounding.
    assert torch.cuda.max_memory_allocated() - before <= engine.memory_bytes + (4 << 20)

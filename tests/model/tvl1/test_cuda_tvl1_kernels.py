"""The CUDA engine's kernels, one by one: against OpenCV and the written equations.

On a machine with a GPU they run on it. Without one they need Triton's interpreter, which must
be chosen before Triton is imported: test_cuda_tvl1.py runs this file in such a process.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

# First: it skips this file where the kernels cannot run, before Triton is imported.
from tests.model.tvl1.cuda_material import (  # isort: skip
    DEVICE,
    needs_opencv5,
    on_device,
    texture,
    three_pairs,
)

import triton
import triton.language as tl

from model.tvl1.cuda.engine import CudaTVL1
from model.tvl1.cuda.iterate import DATA, DUAL, WORK_PLANES, iterate
from model.tvl1.cuda.layout import cut, layout_of
from model.tvl1.cuda.median import median_filter
from model.tvl1.cuda.warp import linearise, upscale
from model.tvl1.options import TVL1Options

BLOCK = 512
SETTINGS = {"num_stages": 1, "enable_fp_fusion": True}


@triton.jit
def iterate_kernel(
    work, errors, count, height, width, strips, chunks, chunk_rows, step, theta, ascent,
    PLANE: tl.constexpr, S: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    result = iterate(
        work, 0, 1, PLANE, count, height, width, strips, chunks, chunk_rows,
        step, theta, ascent, S, K,
    )  # fmt: skip
    for k in tl.static_range(K):
        tl.store(errors + k, result[k])


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
    work = on_device(work)
    errors = torch.zeros(stages, device=DEVICE)
    parts = cut(height, width, stages, warps)
    step, theta, ascent = 0.045, 0.3, 0.25 / 0.3
    iterate_kernel[(1,)](
        work, errors, count, height, width, parts.strips, parts.chunks, parts.chunk_rows,
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
    parts = cut(height, width, side // 2, 4)
    median_kernel[(1,)](
        on_device(image), target, height, width, parts.strips, parts.chunks, parts.chunk_rows,
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
        on_device(first), on_device(planes), on_device(flow), data, height * width, height, width,
        BLOCK=BLOCK, num_warps=4, **SETTINGS,
    )  # fmt: skip
    data = data.cpu().numpy()
    # Sixteen products of up to 255, summed in another order.
    np.testing.assert_allclose(data[0], ix, atol=3e-4)
    np.testing.assert_allclose(data[1], iy, atol=3e-4)
    rho_c = warped - ix * flow[0] - iy * flow[1] - first
    np.testing.assert_allclose(data[2], rho_c, atol=6e-3)  # gradients times up to 16 px


def test_pyramid_and_gradients_are_opencvs():
    """A wrong level shifts everything below it."""
    frames = three_pairs()[1][:2]
    engine = CudaTVL1(20, 34, TVL1Options(), DEVICE, batch=2)
    pyramid = engine._pyramid(on_device(frames)).cpu().numpy()
    for frame, flat in zip(frames, pyramid, strict=True):
        image = frame.astype(np.float32)
        for (h, w), start in zip(engine.layout.sizes, engine.layout.starts, strict=True):
            if start:
                image = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
            result = flat[start : start + 3 * h * w].reshape(3, h, w)
            edge = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
            gradient_x = 0.5 * (edge[1:-1, 2:] - edge[1:-1, :-2])
            gradient_y = 0.5 * (edge[2:, 1:-1] - edge[:-2, 1:-1])
            # float32 sums of products of up to 255.
            np.testing.assert_allclose(result, [image, gradient_x, gradient_y], atol=2e-4)


def test_flow_is_carried_to_the_finer_level_as_opencv_does():
    """A shift here would be a wrong start for every finer level."""
    (height, width), (h, w) = (20, 34), (16, 27)
    layout = layout_of(height, width, TVL1Options())
    assert layout.sizes[1] == (h, w)
    coarse = np.random.default_rng(0).normal(0, 3, (2, h, w)).astype(np.float32)
    plane = height * width
    source = np.zeros((2, plane), np.float32)
    source[:, : h * w] = coarse.reshape(2, -1)
    target = torch.zeros((2, height, width), device=DEVICE)
    upscale_kernel[(1,)](
        on_device(source), target, on_device(layout.places), on_device(layout.weights),
        int(layout.levels[0, 9]), int(layout.levels[0, 10]), h, w, height, width, 1.25, plane,
        BLOCK=BLOCK, num_warps=4, **SETTINGS,
    )  # fmt: skip
    for result, component in zip(target.cpu().numpy(), coarse, strict=True):
        expected = cv2.resize(component, (width, height), interpolation=cv2.INTER_LINEAR) * 1.25
        np.testing.assert_allclose(result, expected, atol=1e-5)

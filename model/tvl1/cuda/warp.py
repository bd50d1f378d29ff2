"""Warping and resizing as Triton kernel parts, and the kernels that build the pyramid.

They follow OpenCV 5: ``cv2.remap`` with INTER_CUBIC at coordinates that are not rounded, zero
outside the image; ``cv2.resize`` with INTER_LINEAR, positions and weights from the tables of
`model.tvl1.cuda.layout`.
"""

# The arguments and tuples of these functions are Triton's, which Python's checkers do not know.
# mypy: disable-error-code="no-untyped-def, assignment"
from __future__ import annotations

import triton
import triton.language as tl

#: Planes of a pyramid level: the image and its two gradients.
PLANES = tl.constexpr(3)


@triton.jit
def _lerp(source, place_y, place_x, weight_y, weight_x, height, width):
    """Interpolate linearly at whole places and the weights of the next ones."""
    next_y = tl.minimum(place_y + 1, height - 1) * width
    next_x = tl.minimum(place_x + 1, width - 1)
    place_y = place_y * width
    near = tl.load(source + place_y + place_x) * (1.0 - weight_x)
    near += tl.load(source + place_y + next_x) * weight_x
    far = tl.load(source + next_y + place_x) * (1.0 - weight_x)
    far += tl.load(source + next_y + next_x) * weight_x
    return near * (1.0 - weight_y) + far * weight_y


@triton.jit
def upscale(
    source, target, places, weights, at_y, at_x, coarse_height, coarse_width, height, width,
    factor, plane, BLOCK: tl.constexpr,
):  # fmt: skip
    """Carry both components of a flow to a finer level and scale their displacements.

    `at_y` and `at_x` are where the level's rows and columns start in the tables.
    """
    for start in range(0, height * width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < height * width
        y = tl.where(inside, at // width, 0)
        x = tl.where(inside, at % width, 0)
        place_y, place_x = tl.load(places + at_y + y), tl.load(places + at_x + x)
        weight_y, weight_x = tl.load(weights + at_y + y), tl.load(weights + at_x + x)
        for c in tl.static_range(2):
            value = _lerp(
                source + c * plane, place_y, place_x, weight_y, weight_x,
                coarse_height, coarse_width,
            )  # fmt: skip
            tl.store(target + c * plane + at, value * factor, inside)


@triton.jit
def _cubic_weights(t):
    """Weights of the places -1, 0, 1, 2 at a fraction t, cubic convolution with a = -0.75."""
    a = -0.75
    s = t + 1.0
    r = 1.0 - t
    w0 = ((a * s - 5.0 * a) * s + 8.0 * a) * s - 4.0 * a
    w1 = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    w2 = ((a + 2.0) * r - (a + 3.0)) * r * r + 1.0
    return w0, w1, w2, 1.0 - w0 - w1 - w2


@triton.jit
def linearise(first, second, level, uv, data, plane, height, width, BLOCK: tl.constexpr):
    """Warp the second frame and its gradients by the flow: Ix, Iy and rho_c into `data`.

    rho_c = I1(x + u₀) − Ix·u₀ − Iy·v₀ − I0 is what of the data term stays the same while the
    iterations change u: rho(u) = rho_c + Ix·u + Iy·v.

    Parameters
    ----------
    first : pointer to float32 (height, width)
    second : pointer to float32 (3, level)
        The frame and its gradients along x and y, `level` numbers apart.
    uv, data : pointer to float32 (2, plane) and (3, plane)
    """
    for start in range(0, height * width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < height * width
        y = at // width
        x = at % width
        u = tl.load(uv + at, inside, other=0.0)
        v = tl.load(uv + plane + at, inside, other=0.0)
        # Beyond these limits every place that is read lies outside the image.
        to_x = tl.minimum(tl.maximum(x + u, -4.0), width + 4.0)
        to_y = tl.minimum(tl.maximum(y + v, -4.0), height + 4.0)
        floor_x = tl.floor(to_x)
        floor_y = tl.floor(to_y)
        wx = _cubic_weights(to_x - floor_x)
        wy = _cubic_weights(to_y - floor_y)
        x0 = floor_x.to(tl.int32) - 1
        y0 = floor_y.to(tl.int32) - 1
        warped = tl.zeros((BLOCK,), tl.float32)
        ix = tl.zeros((BLOCK,), tl.float32)
        iy = tl.zeros((BLOCK,), tl.float32)
        for j in tl.static_range(4):
            row = inside & (y0 + j >= 0) & (y0 + j < height)
            for i in tl.static_range(4):
                there = row & (x0 + i >= 0) & (x0 + i < width)
                place = second + ((y0 + j) * width + (x0 + i))
                w = wy[j] * wx[i]
                warped += w * tl.load(place, there, other=0.0)
                ix += w * tl.load(place + level, there, other=0.0)
                iy += w * tl.load(place + 2 * level, there, other=0.0)
        rho_c = warped - ix * u - iy * v - tl.load(first + at, inside, other=0.0)
        tl.store(data + at, ix, inside)
        tl.store(data + plane + at, iy, inside)
        tl.store(data + 2 * plane + at, rho_c, inside)


@triton.jit(
    do_not_specialize=[
        "frame_stride", "source_at", "target_at", "at_y", "at_x",
        "source_height", "source_width", "height", "width",
    ],
)  # fmt: skip
def shrink_kernel(
    pyramid, frame_stride, source_at, target_at, places, weights, at_y, at_x,
    source_height, source_width, height, width, BLOCK: tl.constexpr,
):  # fmt: skip
    """Make one level of every frame's pyramid from the finer one; grid (frames, blocks)."""
    base = pyramid + tl.program_id(0).to(tl.int64) * frame_stride
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < height * width
    y = tl.where(inside, at // width, 0)
    x = tl.where(inside, at % width, 0)
    place_y, place_x = tl.load(places + at_y + y), tl.load(places + at_x + x)
    weight_y, weight_x = tl.load(weights + at_y + y), tl.load(weights + at_x + x)
    value = _lerp(
        base + source_at, place_y, place_x, weight_y, weight_x, source_height, source_width
    )
    tl.store(base + target_at + at, value, inside)


@triton.jit(do_not_specialize=["frame_stride", "level_at", "level", "height", "width"])
def gradient_kernel(pyramid, frame_stride, level_at, level, height, width, BLOCK: tl.constexpr):
    """Central differences of one level of every frame, edges replicated; grid (frames, blocks).

    The image lies at `level_at` and the gradients one and two times `level` numbers on.
    """
    image = pyramid + tl.program_id(0).to(tl.int64) * frame_stride + level_at
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < height * width
    y = at // width
    x = at % width
    row = y * width
    before = tl.load(image + row + tl.maximum(x - 1, 0), inside, other=0.0)
    after = tl.load(image + row + tl.minimum(x + 1, width - 1), inside, other=0.0)
    above = tl.load(image + tl.maximum(y - 1, 0) * width + x, inside, other=0.0)
    below = tl.load(image + tl.minimum(y + 1, height - 1) * width + x, inside, other=0.0)
    tl.store(image + level + at, 0.5 * (after - before), inside)
    tl.store(image + 2 * level + at, 0.5 * (below - above), inside)

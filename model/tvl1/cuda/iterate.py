"""TV-L1's inner iterations as a Triton kernel part: several in one pass over the image.

A pass carries the flow and its dual variables through up to `K` iterations while it reads and
writes device memory once. The image is cut into strips of 32 columns, one warp a strip, one
column a lane. A warp walks down its strip, and each row it reads passes through `K` stages
like goods on a belt: stage k does iteration k, one row behind stage k-1. What a stage
remembers of the row before stays in registers, and neighbouring columns are one warp shuffle
away, so that no shared memory and no barrier is needed within a pass.

An iteration at a column needs its two neighbours, so each end of a strip loses one valid
column an iteration: strips overlap by 2K columns. Where a strip is cut into chunks of rows,
to give every warp work on a small image, the chunks overlap by 2K rows likewise.
"""

# The arguments and tuples of these functions are Triton's, which Python's checkers do not know.
# mypy: disable-error-code="no-untyped-def, assignment"
# ruff: noqa: RUF005
from __future__ import annotations

import triton
import triton.language as tl

#: Columns of a strip: the lanes of a warp.
LANES = tl.constexpr(32)
#: Numbers that a stage keeps of one row: u, v, p11, p12, p21, p22, Ix, Iy, 1/|∇I|², rho_c.
KEPT = tl.constexpr(10)
#: Planes of a pair's workspace: flow and dual variables twice, and the data term; the planes
#: at which the dual variables and the data term start.
WORK_PLANES = tl.constexpr(2 * 2 + 2 * 4 + 3)
DUAL = tl.constexpr(2 * 2)
DATA = tl.constexpr(2 * 2 + 2 * 4)
# Stands for |∇I1|² = 0, where the data term has no direction: 1/x must stay finite.
_LEAST_GRADIENT = tl.constexpr(1e-30)


@triton.jit
def _read_row(work, uv, dual, PLANE: tl.constexpr, y, x, height, width, wanted):
    """Read what one row of the strips needs; zero outside the image."""
    # A constant PLANE makes all planes offsets of three addresses: with an address each, the
    # row loop has a fifth more instructions.
    at = y * width + x
    inside = wanted & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    flow = work + (at + uv)
    p = work + (at + dual)
    data = work + at + DATA * PLANE
    u = tl.load(flow, inside, other=0.0)
    v = tl.load(flow + PLANE, inside, other=0.0)
    p11 = tl.load(p, inside, other=0.0)
    p12 = tl.load(p + PLANE, inside, other=0.0)
    p21 = tl.load(p + 2 * PLANE, inside, other=0.0)
    p22 = tl.load(p + 3 * PLANE, inside, other=0.0)
    ix = tl.load(data, inside, other=0.0)
    iy = tl.load(data + PLANE, inside, other=0.0)
    rho_c = tl.load(data + 2 * PLANE, inside, other=0.0)
    return u, v, p11, p12, p21, p22, ix, iy, rho_c


@triton.jit
def _write_row(work, uv, dual, PLANE: tl.constexpr, row, y, x, width, owned):
    at = y * width + x
    flow = work + (at + uv)
    p = work + (at + dual)
    tl.store(flow, row[0], owned)
    tl.store(flow + PLANE, row[1], owned)
    tl.store(p, row[2], owned)
    tl.store(p + PLANE, row[3], owned)
    tl.store(p + 2 * PLANE, row[4], owned)
    tl.store(p + 3 * PLANE, row[5], owned)


@triton.jit
def _inverse(x):
    """1/x of a positive number, to about 2⁻²²: two instructions, a division takes ten."""
    root = tl.rsqrt(x)
    return root * root


@triton.jit
def _ascend(p, q, du_dx, du_dy, ascent):
    """One step of the dual variables (p, q) of one component, and their projection."""
    scale = _inverse(1.0 + ascent * tl.sqrt(du_dx * du_dx + du_dy * du_dy))
    return (p + ascent * du_dx) * scale, (q + ascent * du_dy) * scale


@triton.jit
def _stage(row, kept, y, x, height, width, left, right, step, theta, ascent):
    """Iterate once: take row y, give row y - 1 of the next iterate and what to keep of y.

    `row` and `kept` hold `KEPT` tensors (S, 32), of rows y and y - 1. Where step, theta and
    ascent are 0 the row is handed on as it is. Also gives |Δu|² of row y.
    """
    u, v, p11, p12, p21, p22, ix, iy, inverse, rho_c = row
    u_up, v_up, p11_up, p12_up, p21_up, p22_up, ix_up, iy_up, inverse_up, rho_c_up = kept
    # Thresholding: the step to the data term's zero, at most lambda·theta·∇I1 long.
    rho = rho_c + (ix * u + iy * v)
    k = tl.minimum(tl.maximum(-rho * inverse, -step), step)
    first = x == 0
    top = y == 0
    div_1 = (p11 - tl.where(first, 0.0, tl.gather(p11, left, 1))) + (
        p12 - tl.where(top, 0.0, p12_up)
    )
    div_2 = (p21 - tl.where(first, 0.0, tl.gather(p21, left, 1))) + (
        p22 - tl.where(top, 0.0, p22_up)
    )
    new_u = (u + k * ix) + theta * div_1
    new_v = (v + k * iy) + theta * div_2
    change = (new_u - u) * (new_u - u) + (new_v - v) * (new_v - v)
    # Forward differences of the new flow at row y - 1, zero across the image's edge.
    last = x == width - 1
    bottom = y >= height
    u_dx = tl.where(last, 0.0, tl.gather(u_up, right, 1) - u_up)
    v_dx = tl.where(last, 0.0, tl.gather(v_up, right, 1) - v_up)
    u_dy = tl.where(bottom, 0.0, new_u - u_up)
    v_dy = tl.where(bottom, 0.0, new_v - v_up)
    q11, q12 = _ascend(p11_up, p12_up, u_dx, u_dy, ascent)
    q21, q22 = _ascend(p21_up, p22_up, v_dx, v_dy, ascent)
    done = (u_up, v_up, q11, q12, q21, q22, ix_up, iy_up, inverse_up, rho_c_up)
    keep = (new_u, new_v, p11, p12, p21, p22, ix, iy, inverse, rho_c)
    return done, keep, change


@triton.jit
def iterate(
    work, now, dual_now, PLANE: tl.constexpr, count, height, width, strips, chunks, chunk_rows,
    step, theta, ascent, S: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Do `count` ≤ `K` iterations on one pair; a barrier must follow before the next pass.

    Parameters
    ----------
    work : pointer to float32 (`WORK_PLANES`, PLANE)
        The pair's workspace: the flow twice, the dual variables twice, Ix, Iy and rho_c.
    now, dual_now : int
        Which of the two hold the current iterate, 0 or 1; the result goes to the others, since
        strips read their neighbours.
    PLANE : int
        Distance of two planes, in numbers.
    strips, chunks, chunk_rows : int
        How the image is cut; see `model.tvl1.cuda.layout`.
    step, theta, ascent : float
        lambda·theta, theta, tau/theta.
    S, K : constexpr
        Strips at a time (the warps of the program) and stages.

    Returns
    -------
    tuple of K float32
        Σ|Δu|² over the image of each iteration, summed in an order that depends on the sizes
        and on `S` and `K` alone.
    """
    lane = tl.arange(0, LANES)[None, :]
    slot = tl.arange(0, S)[:, None]
    nothing = tl.zeros((S, LANES), tl.float32)
    left = tl.maximum(lane - 1, 0) + tl.zeros((S, LANES), tl.int32)
    right = tl.minimum(lane + 1, LANES - 1) + tl.zeros((S, LANES), tl.int32)
    errors = (nothing,) * K
    uv = now * 2 * PLANE
    uv_out = 2 * PLANE - uv
    dual = (DUAL + dual_now * 4) * PLANE
    dual_out = (2 * DUAL + 4) * PLANE - dual
    for item in range(0, strips * chunks, S):
        strip = (item + slot) % strips
        chunk = (item + slot) // strips
        x = strip * (LANES - 2 * K) - K + lane
        top = chunk * chunk_rows
        end = tl.minimum(top + chunk_rows, height)
        wanted = chunk < chunks
        owned_column = wanted & (lane >= K) & (lane < LANES - K) & (x < width)
        kept = (nothing,) * (KEPT * K)
        ahead = _read_row(work, uv, dual, PLANE, top - K, x, height, width, wanted)
        for t in range(chunk_rows + 2 * K):
            y = top - K + t
            u, v, p11, p12, p21, p22, ix, iy, rho_c = ahead
            # The next row is loaded before this one is processed.
            ahead = _read_row(work, uv, dual, PLANE, y + 1, x, height, width, wanted)
            inverse = _inverse(tl.maximum(ix * ix + iy * iy, _LEAST_GRADIENT))
            row = (u, v, p11, p12, p21, p22, ix, iy, inverse, rho_c)
            next_kept = ()
            next_errors = ()
            for k in tl.static_range(K):
                # A pass of fewer iterations than stages hands rows on through the last ones.
                runs = tl.where(k < count, 1.0, 0.0)
                row, keep, change = _stage(
                    row, kept[KEPT * k : KEPT * (k + 1)], y - k, x, height, width,
                    left, right, runs * step, runs * theta, runs * ascent,
                )  # fmt: skip
                counts = owned_column & (y - k >= top) & (y - k < end)
                next_kept = next_kept + keep
                next_errors = next_errors + (errors[k] + tl.where(counts, change, 0.0),)
            kept = next_kept
            errors = next_errors
            owned = owned_column & (y - K >= top) & (y - K < end)
            _write_row(work, uv_out, dual_out, PLANE, row, y - K, x, width, owned)
    sums = ()
    for k in tl.static_range(K):
        sums = sums + (tl.sum(errors[k]),)
    return sums

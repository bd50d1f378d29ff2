"""The TV-L1 solver as one Triton kernel: a program takes a pair of frames from end to end.

One program (a thread block) does all levels, warps, medians and iterations of its pair and
decides itself when to stop, so that nothing but the pair's own work is waited for: the host
launches one kernel a batch, pairs that converge at once make room for the next, and a result
does not depend on what else is in the batch. A barrier of the block stands between every
write and the reads of other threads.
"""

# The arguments and tuples of these functions are Triton's, which Python's checkers do not know.
# mypy: disable-error-code="no-untyped-def, assignment"
from __future__ import annotations

import triton
import triton.language as tl

from model.tvl1.cuda.iterate import DATA, DUAL, WORK_PLANES, iterate
from model.tvl1.cuda.median import median_filter
from model.tvl1.cuda.warp import linearise, upscale

#: Columns of the table of levels; `model.tvl1.cuda.layout` fills it.
HEIGHT = tl.constexpr(0)
WIDTH = tl.constexpr(1)
START = tl.constexpr(2)
PASS_CUT = tl.constexpr(3)
MEDIAN_CUT = tl.constexpr(6)
ROWS_AT = tl.constexpr(9)
COLUMNS_AT = tl.constexpr(10)
COLUMNS = tl.constexpr(11)
#: What is counted for each pair, level and warp: iterations, medians (outer iterations), passes.
COUNTED = tl.constexpr(3)


@triton.jit
def _fill_zero(target, count, BLOCK: tl.constexpr):
    for start in range(0, count, BLOCK):
        at = start + tl.arange(0, BLOCK)
        tl.store(target + at, tl.zeros((BLOCK,), tl.float32), at < count)


@triton.jit
def _copy(source, target, count, BLOCK: tl.constexpr):
    for start in range(0, count, BLOCK):
        at = start + tl.arange(0, BLOCK)
        tl.store(target + at, tl.load(source + at, at < count, other=0.0), at < count)


@triton.jit
def _first_under(errors, threshold, count, K: tl.constexpr):
    """Return the number of the first of `count` iterations whose error is under the limit, or 0."""
    first = 0
    for i in tl.static_range(K):
        under = (K - 1 - i < count) & (errors[K - 1 - i] <= threshold)
        first = tl.where(under, K - i, first)
    return first


@triton.jit
def _relax(
    work, now, dual_now, PLANE: tl.constexpr, height, width, strips, chunks, chunk_rows, inner,
    threshold, step, theta, ascent, S: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Iterate until the error is at most the threshold, `inner` times at most.

    A pass does up to `K` iterations before their errors are known. Where it turns out that the
    iterations should have stopped within it, its result is dropped and it is done again, as far
    as that iteration: what it read is still there.

    Returns the flow's and the dual variables' buffers that hold the result, the number of
    iterations, whether they stopped before the limit, and the passes.
    """
    done = 0
    again = 0
    passes = 0
    stopped = False
    while (done < inner) & (stopped == 0):
        count = tl.where(again > 0, again, tl.minimum(inner - done, K))
        errors = iterate(
            work, now, dual_now, PLANE, count, height, width, strips, chunks, chunk_rows,
            step, theta, ascent, S, K,
        )  # fmt: skip
        tl.debug_barrier()
        first = _first_under(errors, threshold, count, K)
        stopped = first == count
        keeps = stopped | (first == 0)
        again = tl.where(keeps, 0, first)
        done += tl.where(keeps, count, 0)
        now = tl.where(keeps, 1 - now, now)
        dual_now = tl.where(keeps, 1 - dual_now, dual_now)
        passes += 1
    return now, dual_now, done, stopped, passes


@triton.jit
def _settle(
    work, now, dual_now, PLANE: tl.constexpr, level, height, width, counts, outer, inner,
    threshold, step, theta, ascent, S: tl.constexpr, K: tl.constexpr, SIDE: tl.constexpr,
):  # fmt: skip
    """Alternate medians and iterations for one linearisation, until the iterations stop."""
    strips = tl.load(level + PASS_CUT)
    chunks = tl.load(level + PASS_CUT + 1)
    chunk_rows = tl.load(level + PASS_CUT + 2)
    median_strips = tl.load(level + MEDIAN_CUT)
    median_chunks = tl.load(level + MEDIAN_CUT + 1)
    median_rows = tl.load(level + MEDIAN_CUT + 2)
    medians = 0
    iterations = 0
    passes = 0
    stopped = False
    while (medians < outer) & (stopped == 0):
        if SIDE > 1:
            source = work + now * 2 * PLANE
            target = work + (1 - now) * 2 * PLANE
            for c in range(2):
                median_filter(
                    source + c * PLANE, target + c * PLANE, height, width,
                    median_strips, median_chunks, median_rows, S, SIDE,
                )  # fmt: skip
            tl.debug_barrier()
            now = 1 - now
        now, dual_now, done, stopped, took = _relax(
            work, now, dual_now, PLANE, height, width, strips, chunks, chunk_rows, inner,
            threshold, step, theta, ascent, S, K,
        )  # fmt: skip
        medians += 1
        iterations += done
        passes += took
    tl.store(counts, iterations)
    tl.store(counts + 1, medians)
    tl.store(counts + 2, passes)
    return now, dual_now


# Sizes differ from video to video; a kernel of its own for those divisible by 16 gains nothing.
@triton.jit(
    do_not_specialize=["frame_stride", "scales", "warps", "outer", "inner"],
)
def solve_kernel(
    pyramid, frame_stride, pairs, workspace, flow, counts, levels, thresholds, places, weights,
    scales, warps, outer, inner, finer, step, theta, ascent,
    PLANE: tl.constexpr, S: tl.constexpr, K: tl.constexpr, SIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the flow of each pair; grid (pairs,), `S` warps a program.

    Parameters
    ----------
    pyramid : pointer to float32 (frames, frame_stride)
        Level after level, each the image and its gradients along x and y.
    pairs : pointer to int32 (pairs, 2)
        First and second frame of each pair.
    workspace : pointer to float32 (pairs, `WORK_PLANES`, `PLANE`)
    flow : pointer to float32 (pairs, 2, height, width)
        The results.
    counts : pointer to int32 (pairs, scales, warps, `COUNTED`)
    levels : pointer to int32 (scales, `COLUMNS`)
        Finest first.
    thresholds : pointer to float32 (scales,)
        ε²·H·W of each level.
    places, weights : pointer to int32 and float32
        Tables of the linear interpolation from each level to the next finer one.
    scales, warps, outer, inner : int
    finer : float
        What a displacement grows by from a level to the next finer one.
    step, theta, ascent : float
        lambda·theta, theta, tau/theta.
    PLANE, S, K, SIDE, BLOCK : constexpr
        Distance of two planes of the workspace, warps, iterations a pass, side of the median
        (1, 3, 5), pixels a step elsewhere.
    """
    pair = tl.program_id(0).to(tl.int64)
    first = pyramid + tl.load(pairs + 2 * pair).to(tl.int64) * frame_stride
    second = pyramid + tl.load(pairs + 2 * pair + 1).to(tl.int64) * frame_stride
    work = workspace + pair * WORK_PLANES * PLANE
    counts += pair * scales * warps * COUNTED
    now = 0
    dual_now = 0
    _fill_zero(work, 2 * PLANE, BLOCK)
    for i in range(scales):
        level = levels + (scales - 1 - i) * COLUMNS
        height = tl.load(level + HEIGHT)
        width = tl.load(level + WIDTH)
        start = tl.load(level + START)
        size = height * width
        if i > 0:
            upscale(
                work + now * 2 * PLANE, work + (1 - now) * 2 * PLANE, places, weights,
                tl.load(level + ROWS_AT), tl.load(level + COLUMNS_AT),
                tl.load(level + COLUMNS + HEIGHT), tl.load(level + COLUMNS + WIDTH),
                height, width, finer, PLANE, BLOCK,
            )  # fmt: skip
            now = 1 - now
        _fill_zero(work + (DUAL + dual_now * 4) * PLANE, 4 * PLANE, BLOCK)
        tl.debug_barrier()
        threshold = tl.load(thresholds + scales - 1 - i)
        for warp in range(warps):
            linearise(
                first + start, second + start, size, work + now * 2 * PLANE, work + DATA * PLANE,
                PLANE, height, width, BLOCK,
            )  # fmt: skip
            tl.debug_barrier()
            now, dual_now = _settle(
                work, now, dual_now, PLANE, level, height, width,
                counts + ((scales - 1 - i) * warps + warp) * COUNTED, outer, inner, threshold,
                step, theta, ascent, S, K, SIDE,
            )  # fmt: skip
    size = tl.load(levels + HEIGHT) * tl.load(levels + WIDTH)
    for c in range(2):
        _copy(work + (now * 2 + c) * PLANE, flow + (pair * 2 + c) * size, size, BLOCK)

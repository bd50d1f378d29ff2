"""The steps of one TV-L1 iteration on a block of lanes, rounded exactly as OpenCV rounds.

Names follow Zach, Pock & Bischof 2007 and Sánchez Pérez et al., doi:10.5201/ipol.2013.26:
u, v the flow; p, q a dual vector's two components; rho the residual of the linearised data
term; lt = lambda·theta, ta = tau/theta.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from model.tvl1.cpu.lanes import (
    WIDTH,
    Lanes,
    Mask,
    absolute,
    copysign,
    fma,
    fms,
    fnma,
    get,
    lane_before,
    negative,
    put,
    reciprocal_root,
    select,
    spread,
)
from model.tvl1.cpu.order import larger, larger_size, smaller_size

f4 = np.float32

inlined = njit(forceinline=True, error_model="numpy")

ZERO, ONE = f4(0.0), f4(1.0)
# Up to this squared gradient there is no data term: float32's epsilon, as in OpenCV.
FLAT = f4(np.finfo(np.float32).eps)
# The root's step is multiplied with 1/2 + 3/8·e; the upper end of its range, and its width.
CURVE, UP, RANGE = f4(0.375), f4(0.5 + 2.0**-22), f4(2.0**-21)
SMALL = f4(2.0**-100)


@inlined
def data_step(rho: Lanes, grad: Lanes, lt: Lanes) -> Lanes:
    """Return k of the thresholding step v = u + k·∇I1; grad is |∇I1|²."""
    down = negative(rho)
    k = select(grad > spread(FLAT), down / grad, spread(ZERO))
    # Both of the outer cases at once: lt and grad are not negative.
    return select(absolute(rho) > lt * grad, copysign(lt, down), k)


@inlined
def divergence(p: Lanes, left: Lanes, q: Lanes, above: Lanes, first: bool) -> Lanes:
    """Return the backward-difference divergence.

    In the first block of a row, column 0 is added up in another order, as OpenCV does.
    """
    inside = (p - left) + (q - above)
    if first:
        return select(lane_before(1), (p + q) - above, inside)
    return inside


@inlined
def fast_hypot(x: Lanes, y: Lanes) -> tuple[Lanes, Mask]:
    """Return float32 of the exact sqrt(x² + y²), and where that is not certain.

    OpenCV takes the root in double and rounds it. Here the sum of squares is s + low, good to
    about 47 bits, and h its root within 2^-13. The exact root is h + residual / (h + root); with
    e = 1 - h·guess, the last divisor is 2 / (guess·(1 + 3/4·e)) within 2^-24. The whole step is
    known to 2^-22. It is taken as known to 2^-21, and both ends of that range must round to one
    float32; one block in three hundred fails that. Overflow fails too. After NaN, which one of
    the two sizes may hide, the change of the flow is NaN, and no result is used.
    A root under 2^-38 may be wrong: it cannot change 1 + ta·h.
    """
    large, small = larger_size(x, y), smaller_size(x, y)
    square = large * large
    s = fma(small, small, square)
    # What the squares and their sum have lost (the difference is exact: Dekker 1971).
    low = fms(small, small, s - square) + fms(large, large, square)
    guess = reciprocal_root(larger(s, spread(SMALL)))
    h = s * guess
    e = fnma(h, guess, spread(ONE))
    step = (fnma(h, h, s) + low) * guess
    most = fma(e, spread(CURVE), spread(UP))
    upper = fma(step, most, h)
    return upper, upper != fma(step, most - spread(RANGE), h)


@njit(error_model="numpy", nogil=True)
def scalar_norm(w: int, u: int, below: int, norm: int, ta: np.float32) -> None:
    """Write 1 + ta·|∇u| of a block one by one with the C library's hypot, as OpenCV does."""
    for x in range(WIDTH):
        here = get(w, u + x)
        dx = get(w, u + x + 1) - here
        dy = get(w, below + x) - here
        put(w, norm + x, ONE + ta * f4(math.hypot(np.float64(dx), np.float64(dy))))

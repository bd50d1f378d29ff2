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
    fma,
    fms,
    fnma,
    get,
    lane_before,
    larger,
    negative,
    put,
    reciprocal_root,
    select,
    smaller,
    spread,
)

f4 = np.float32

inlined = njit(forceinline=True, error_model="numpy")

ZERO, HALF, ONE = f4(0.0), f4(0.5), f4(1.0)
# Up to this squared gradient there is no data term: float32's epsilon, as in OpenCV.
FLAT = f4(np.finfo(np.float32).eps)
# 1 ± 2^-13: twice the error of the reciprocal root that a correction is multiplied with.
UP, DOWN = f4(1.0 + 2.0**-13), f4(1.0 - 2.0**-13)
SMALL = f4(2.0**-100)


@inlined
def data_step(rho: Lanes, grad: Lanes, lt: Lanes) -> Lanes:
    """Return k of the thresholding step v = u + k·∇I1; grad is |∇I1|²."""
    t = lt * grad
    k = select(grad > spread(FLAT), negative(rho) / grad, spread(ZERO))
    k = select(rho > t, negative(lt), k)
    return select(rho < negative(t), lt, k)


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

    OpenCV takes the root in double and rounds it. Here the sum of squares is s + low, good
    to about 47 bits. One Newton step brings the root of s near the last place; a second adds
    the residual of s + low over twice the root. That correction is known to 2^-13, and both
    ends of its range must round to one float32; one block in five hundred fails that.
    NaN and overflow fail too. A root under 2^-38 may be wrong: it cannot change 1 + ta·h.
    """
    xx = x * x
    yy = y * y
    large = larger(xx, yy)
    small = smaller(xx, yy)
    s = large + small
    # What the sum (Dekker 1971) and the two products have lost.
    low = (small - (s - large)) + (fms(x, x, xx) + fms(y, y, yy))
    guess = reciprocal_root(larger(s, spread(SMALL)))
    half = guess * spread(HALF)
    h = s * guess
    h = fma(fnma(h, h, s), half, h)
    correction = (fnma(h, h, s) + low) * half
    upper = fma(correction, spread(UP), h)
    return upper, upper != fma(correction, spread(DOWN), h)


@njit(error_model="numpy", nogil=True)
def scalar_norm(w: int, u: int, below: int, norm: int, ta: np.float32) -> None:
    """Write 1 + ta·|∇u| of a block one by one with the C library's hypot, as OpenCV does."""
    for x in range(WIDTH):
        here = get(w, u + x)
        dx = get(w, u + x + 1) - here
        dy = get(w, below + x) - here
        put(w, norm + x, ONE + ta * f4(math.hypot(np.float64(dx), np.float64(dy))))

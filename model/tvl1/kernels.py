"""One block of lanes through one TV-L1 iteration, rounded exactly as OpenCV rounds.

Each step has a fast form, exact whenever it does not say that it is unsure, and a plain
IEEE form that it falls back to. Names follow Zach, Pock & Bischof 2007 and Sánchez Pérez et
al., doi:10.5201/ipol.2013.26: u, v the flow; p the dual variables; rho the residual.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from model.tvl1.lanes import (
    WIDTH,
    Lanes,
    Mask,
    any_lane,
    fma,
    fms,
    fnma,
    get,
    hypot,
    hypot_unsure,
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
Flat = npt.NDArray[np.float32]

_inline = njit(forceinline=True, error_model="numpy")

ONE = f4(1.0)
# Squared gradients up to here carry no data term: float32's epsilon, as in OpenCV.
FLAT = f4(np.finfo(np.float32).eps)
# 1 ± 2^-13: twice the error of the reciprocal root that a correction is multiplied with.
_UP = f4(1.0 + 2.0**-13)
_DOWN = f4(1.0 - 2.0**-13)
_HALF = f4(0.5)
_SMALL = f4(2.0**-100)


@_inline
def fast_hypot(x: Lanes, y: Lanes) -> tuple[Lanes, Mask]:
    """Return float32 of the exact sqrt(x² + y²), and where that is not certain.

    The sum of squares is kept as s + low, to about 47 bits. One Newton step brings the root
    of s within a unit in the last place, a second one adds the residual of s + low over twice
    the root: its error is known, and both ends of it must round to one float32. NaN and
    overflow are uncertain. A root under 2^-38 may be wrong: it cannot change 1 + ta·h.
    """
    xx = x * x
    yy = y * y
    large = larger(xx, yy)
    small = smaller(xx, yy)
    s = large + small
    # What the sum (Dekker) and the two products have lost.
    low = (small - (s - large)) + (fms(x, x, xx) + fms(y, y, yy))
    guess = reciprocal_root(larger(s, spread(_SMALL)))
    half = guess * spread(_HALF)
    h = s * guess
    h = fma(fnma(h, h, s), half, h)
    correction = (fnma(h, h, s) + low) * half
    upper = fma(correction, spread(_UP), h)
    return upper, upper != fma(correction, spread(_DOWN), h)


@njit(error_model="numpy", nogil=True)
def scalar_norm(w: int, u: int, below: int, norm: int, ta: float) -> None:
    """Write 1 + ta·|grad u| of a block one by one with the C library's hypot, as OpenCV does."""
    for x in range(WIDTH):
        here = get(w, u + x)
        dx = get(w, u + x + 1) - here
        dy = get(w, below + x) - here
        put(w, norm + x, ONE + ta * f4(math.hypot(np.float64(dx), np.float64(dy))))


@_inline
def divergence(
    p: Lanes, left: Lanes, q: Lanes, above: Lanes, first: bool
) -> Lanes:
    """Return the backward-difference divergence; OpenCV adds column 0 in another order."""
    inside = (p - left) + (q - above)
    if first:
        return select(lane_before(1), (p + q) - above, inside)
    return inside


@_inline
def data_step(rho: Lanes, grad: Lanes, lt: Lanes) -> Lanes:
    """Return k of the thresholding step v = u + k·∇I1, IPOL 2013, eq. (12)."""
    t = lt * grad
    flat = grad > spread(FLAT)
    k = select(flat, negative(rho) / grad, spread(f4(0.0)))
    k = select(rho > t, negative(lt), k)
    return select(rho < negative(t), lt, k)

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
    reciprocal_guess,
    select,
    spread,
    sqrt,
    tiny,
)

f4 = np.float32
Flat = npt.NDArray[np.float32]

_inline = njit(forceinline=True, error_model="numpy")

ONE = f4(1.0)
# Squared gradients up to here carry no data term: float32's epsilon, as in OpenCV.
FLAT = f4(np.finfo(np.float32).eps)
# Half of 1 ± 2^-18: the margin by which a root must clear a tie to be taken as certain.
_HALF_UP = f4(0.5 + 2.0**-19)
_HALF_DOWN = f4(0.5 - 2.0**-19)
_SMALL = f4(2.0**-50)


@_inline
def quotient(n: Lanes, d: Lanes, y: Lanes) -> Lanes:
    """Return n/d correctly rounded, given y, the correctly rounded 1/d.

    Markstein 1990: q is within one unit in the last place, its residual is exact, and one
    correction rounds rightly, where nothing leaves the normal range. Keeps the sign of 0.
    """
    q = n * y
    return fnma(fms(d, q, n), y, q)


@_inline
def fast_hypot(x: Lanes, y: Lanes) -> tuple[Lanes, Mask]:
    """Return float32 of the exact sqrt(x² + y²), and where that is not certain.

    The sum of squares is kept as s + low, to about 48 bits; the root of s is corrected by
    half its residual over itself. Both ends of the error bound must round to one value.
    Underflow gives a root under 2^-40, wrong, but too small to change 1 + (tau/theta)·h.
    """
    xx = x * x
    yy = y * y
    s = xx + yy
    # Knuth's exact error of the sum, and the products' by fused multiply-add.
    y_part = s - xx
    low = (xx - (s - y_part)) + (yy - y_part)
    low = low + (fms(x, x, xx) + fms(y, y, yy))
    h = sqrt(s)
    correction = (fnma(h, h, s) + low) * reciprocal_guess(larger(h, spread(_SMALL)))
    upper = fma(correction, spread(_HALF_UP), h)
    lower = fma(correction, spread(_HALF_DOWN), h)
    return upper, upper != lower


@_inline
def fast_dual(p: Lanes, q: Lanes, dx: Lanes, dy: Lanes, ta: Lanes) -> tuple[Lanes, Lanes, Mask]:
    """Ascend one component's dual variables; the mask tells where that is not certain."""
    h, unsure = fast_hypot(dx, dy)
    norm = spread(ONE) + ta * h
    y = spread(ONE) / norm
    p = p + ta * dx
    q = q + ta * dy
    return quotient(p, norm, y), quotient(q, norm, y), unsure | tiny(p, q)


@_inline
def plain_dual(p: Lanes, q: Lanes, dx: Lanes, dy: Lanes, ta: Lanes) -> tuple[Lanes, Lanes]:
    """Ascend one component's dual variables with divisions and a double root."""
    norm = spread(ONE) + ta * hypot(dx, dy)
    return (p + ta * dx) / norm, (q + ta * dy) / norm


@njit(error_model="numpy", nogil=True)
def scalar_dual(
    w: int, width: int, u: int, below: int, p: int, q: int, new_p: int, new_q: int, ta: float
) -> None:
    """Ascend a block's dual variables one by one with the C library's hypot, as OpenCV does.

    Offsets are of the block's first pixel; only ``width`` pixels are written.
    """
    for x in range(width):
        here = get(w, u + x)
        dx = get(w, u + x + 1) - here
        dy = get(w, below + x) - here
        norm = ONE + ta * f4(math.hypot(np.float64(dx), np.float64(dy)))
        a = (get(w, p + x) + ta * dx) / norm
        b = (get(w, q + x) + ta * dy) / norm
        put(w, new_p + x, a)
        put(w, new_q + x, b)


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
def data_step(
    rho: Lanes, grad: Lanes, inverse: Lanes, lt: Lanes, careful: bool
) -> Lanes:
    """Return k of the thresholding step v = u + k·∇I1, IPOL 2013, eq. (12)."""
    t = lt * grad
    k = quotient(negative(rho), grad, inverse)
    if careful or any_lane(tiny(rho, rho)):
        ok = grad > spread(FLAT)
        k = select(ok, negative(rho) / select(ok, grad, spread(ONE)), spread(f4(0.0)))
    k = select(rho > t, negative(lt), k)
    return select(rho < negative(t), lt, k)

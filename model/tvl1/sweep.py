"""The inner iterations of TV-L1, in plain scalar arithmetic."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

f4 = np.float32
f8 = np.float64
Image = npt.NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy")
def _update_u(y, u, v, dual, ix, iy, grad, rho_c, lt, theta, change):  # type: ignore[no-untyped-def]
    width = u.shape[1]
    for x in range(width):
        g = grad[y, x]
        rho = rho_c[y, x] + (ix[y, x] * u[y, x] + iy[y, x] * v[y, x])
        k = f4(0.0)
        if rho < -lt * g:
            k = lt
        elif rho > lt * g:
            k = -lt
        elif g > f4(1.1920929e-07):
            k = -rho / g
        new_u = u[y, x] + k * ix[y, x]
        new_v = v[y, x] + k * iy[y, x]
        new_u = new_u + theta * _div(dual[0], dual[1], y, x)
        new_v = new_v + theta * _div(dual[2], dual[3], y, x)
        du = new_u - u[y, x]
        dv = new_v - v[y, x]
        change[y, x] = du * du + dv * dv
        u[y, x] = new_u
        v[y, x] = new_v


@njit(cache=True, nogil=True, error_model="numpy")
def _div(p, q, y, x):  # type: ignore[no-untyped-def]
    above = q[y - 1, x] if y > 0 else f4(0.0)
    if x == 0:
        return (p[y, x] + q[y, x]) - above
    return (p[y, x] - p[y, x - 1]) + (q[y, x] - above)


@njit(cache=True, nogil=True, error_model="numpy")
def _update_p(y, u, p, q, ta):  # type: ignore[no-untyped-def]
    height, width = u.shape
    for x in range(width):
        dx = u[y, x + 1] - u[y, x] if x + 1 < width else f4(0.0)
        dy = u[y + 1, x] - u[y, x] if y + 1 < height else f4(0.0)
        norm = f4(1.0) + ta * f4(math.hypot(f8(dx), f8(dy)))
        p[y, x] = (p[y, x] + ta * dx) / norm
        q[y, x] = (q[y, x] + ta * dy) / norm


@njit(cache=True, nogil=True, error_model="numpy")
def iterate(inner, threshold, u, v, dual, ix, iy, grad, rho_c, lt, theta, ta):  # type: ignore[no-untyped-def]
    """Iterate in place until the summed change is at most the threshold; return that sum."""
    height, width = u.shape
    change = np.empty((height, width), np.float32)
    error = f4(np.inf)
    for _ in range(inner):
        if not error > threshold:
            break
        for y in range(height):
            _update_u(y, u, v, dual, ix, iy, grad, rho_c, lt, theta, change)
            if y > 0:
                _update_p(y - 1, u, dual[0], dual[1], ta)
                _update_p(y - 1, v, dual[2], dual[3], ta)
        _update_p(height - 1, u, dual[0], dual[1], ta)
        _update_p(height - 1, v, dual[2], dual[3], ta)
        error = f4(0.0)
        for y in range(height):
            for x in range(width):
                error += change[y, x]
    return error

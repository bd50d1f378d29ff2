"""OpenCV's own TV-L1 on the CPU: the reference for the other engines."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from model.tvl1.frames import check_frames, level_sizes
from model.tvl1.options import TVL1Options


def has_solver() -> bool:
    """Whether this OpenCV has TV-L1, which is part of opencv-contrib only.

    Another package of OpenCV, installed over it, takes it away.
    """
    return hasattr(getattr(cv2, "optflow", None), "DualTVL1OpticalFlow_create")


def calc(
    i0: npt.NDArray[np.uint8], i1: npt.NDArray[np.uint8], options: TVL1Options | None = None
) -> npt.NDArray[np.float32]:
    """Compute the flow that carries the first frame to the second.

    Parameters
    ----------
    i0, i1 : (H, W) uint8
        Grey frames, at least 2 px a side.
    options : TVL1Options, optional
        OpenCV's defaults when absent.

    Returns
    -------
    (H, W, 2) float32
        u (right) and v (down), in px.

    Raises
    ------
    ValueError
        If a frame is not grey uint8, or the sizes differ.
    """
    check_frames(i0, i1)
    options = options or TVL1Options()
    height, width = i0.shape
    levels = level_sizes(height, width, options.scales, options.scale_step)
    # A new object each time: after a small frame an old one keeps to fewer levels, and its
    # buffers are not safe to share between threads.
    solver = cv2.optflow.DualTVL1OpticalFlow_create(  # type: ignore[attr-defined]
        tau=options.tau,
        lambda_=options.lam,
        theta=options.theta,
        nscales=len(levels),
        warps=options.warps,
        epsilon=options.epsilon,
        innnerIterations=options.inner,
        outerIterations=options.outer,
        scaleStep=options.scale_step,
        medianFiltering=options.median,
    )
    return solver.calc(i0, i1, None)

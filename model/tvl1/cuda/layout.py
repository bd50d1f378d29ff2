"""How the CUDA engine lays out a batch: pyramid levels, resize tables, cuts, memory.

Plain NumPy, no device and no Triton.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from model.tvl1.frames import level_sizes
from model.tvl1.options import TVL1Options

#: Columns of a strip: the lanes of a warp.
LANES = 32
#: Float32 planes of the workspace of a pair: flow and dual variables twice, three of data.
WORK_PLANES = 15
# Sizes that round up to the same plane share a compiled kernel.
_PLANE_STEP = 8192


@dataclass(frozen=True)
class Shape:
    """Shape of the thread blocks.

    Attributes
    ----------
    warps : int
        Warps of a block, a power of 2.
    stages : int
        Iterations done each time the flow is read from device memory and written back.
    registers : int, optional
        Most registers a thread may use; Triton's choice when absent.
    """

    warps: int = 16
    stages: int = 2
    registers: int | None = None


@dataclass(frozen=True)
class Cut:
    """How an image is cut for the warps of a block: strips of columns, chunks of rows."""

    strips: int
    chunks: int
    chunk_rows: int


@dataclass(frozen=True)
class Layout:
    """Where everything lies for pairs of one size.

    Attributes
    ----------
    sizes : tuple of (height, width)
        Pyramid levels, finest first.
    starts : tuple of int
        Where each level starts within a frame's pyramid; a level is three planes.
    frame_stride : int
        Numbers of a frame's pyramid.
    levels : ndarray (scales, 11) int32
        The kernel's table: height, width, start, cut of a pass (3), cut of a median (3), where
        the tables of rows and of columns start for the flow from the next coarser level.
    thresholds : ndarray (scales,) float32
        ε²·H·W, the summed squared change at which iterations stop.
    shrink_at : tuple of (rows, columns)
        Where the tables of each level start for the image from the next finer level.
    places, weights : ndarray int32, float32
        Linear interpolation: value = (1 − weight)·source[place] + weight·source[place + 1].
    """

    sizes: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    frame_stride: int
    levels: npt.NDArray[np.int32]
    thresholds: npt.NDArray[np.float32]
    shrink_at: tuple[tuple[int, int], ...]
    places: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @property
    def pixels(self) -> int:
        """Pixels of the finest level."""
        return self.sizes[0][0] * self.sizes[0][1]

    @property
    def plane(self) -> int:
        """Numbers of a plane of the workspace; rounded up, for each value is a kernel."""
        return -(-self.pixels // _PLANE_STEP) * _PLANE_STEP


def cut(height: int, width: int, halo: int, slots: int) -> Cut:
    """Cut an image for `slots` warps that work in step.

    A strip or chunk loses `halo` columns or rows at each end. The number of chunks is the one
    with the fewest steps until the last warp is done.
    """
    strips = math.ceil(width / (LANES - 2 * halo))

    def steps(chunks: int) -> int:
        rounds = math.ceil(strips * chunks / slots)
        return rounds * (math.ceil(height / chunks) + 2 * halo)

    # More chunks than this have more rows of overlap than of their own.
    most = max(1, height // max(1, 2 * halo))
    best = min(range(1, most + 1), key=steps)
    chunk_rows = math.ceil(height / best)
    return Cut(strips, math.ceil(height / chunk_rows), chunk_rows)


def resize_table(
    source: int, target: int, scale: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Return places and weights with which ``cv2.resize`` makes `target` numbers of `source`.

    `scale` is the distance of two targets in the source: 1/fx where OpenCV is given a factor,
    source/target where it is given a size. Positions are in float64, as there.
    """
    position = (np.arange(target) + 0.5) * scale - 0.5
    place = np.floor(position)
    weight = (position - place).astype(np.float32)
    outside = (place < 0) | (place >= source - 1)
    weight[outside] = 0
    return np.clip(place, 0, source - 1).astype(np.int32), weight


def layout_of(height: int, width: int, options: TVL1Options, shape: Shape | None = None) -> Layout:
    """Lay out pairs of one size for blocks of a shape."""
    shape = shape or Shape()
    sizes = level_sizes(height, width, options.scales, options.scale_step)
    pixels = [h * w for h, w in sizes]
    starts = [3 * sum(pixels[:i]) for i in range(len(sizes))]
    tables: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]] = []

    def add(source: int, target: int, scale: float) -> int:
        at = sum(len(place) for place, _ in tables)
        tables.append(resize_table(source, target, scale))
        return at

    rows = []
    shrink_at = [(0, 0)]
    for i, (h, w) in enumerate(sizes):
        passes = cut(h, w, shape.stages, shape.warps)
        median = cut(h, w, options.median // 2, shape.warps)
        up = (0, 0)
        if i + 1 < len(sizes):
            coarse_h, coarse_w = sizes[i + 1]
            up = (add(coarse_h, h, coarse_h / h), add(coarse_w, w, coarse_w / w))
            shrink = 1 / options.scale_step
            shrink_at.append((add(h, coarse_h, shrink), add(w, coarse_w, shrink)))
        rows.append((h, w, starts[i], *astuple(passes), *astuple(median), *up))
    # One level needs no table, but a kernel needs a pointer.
    add(1, 1, 1.0)
    epsilon = options.epsilon
    return Layout(
        sizes=tuple(sizes),
        starts=tuple(starts),
        frame_stride=3 * sum(pixels),
        levels=np.array(rows, np.int32),
        thresholds=np.array([epsilon * epsilon * count for count in pixels], np.float32),
        shrink_at=tuple(shrink_at),
        places=np.concatenate([place for place, _ in tables]),
        weights=np.concatenate([weight for _, weight in tables]),
    )


def memory_bytes(height: int, width: int, options: TVL1Options | None, batch: int) -> int:
    """Return the device memory, in bytes, that a batch of pairs takes at most.

    That is each pair's workspace and flow, and the grey levels and pyramids of its two frames.
    `CudaTVL1.flows` has two batches under way.
    """
    layout = layout_of(height, width, options or TVL1Options())
    pair = 4 * (WORK_PLANES * layout.plane + 2 * layout.pixels)
    frame = layout.pixels + 4 * layout.frame_stride
    return batch * (pair + 2 * frame)
